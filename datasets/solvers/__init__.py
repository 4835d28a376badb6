"""Numerical solvers behind the catalogue: spectral in time and space, finite differences, finite elements."""
