"""The catalogue of benchmark problems."""
