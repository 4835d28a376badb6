"""Numerical solvers of the catalogue: spectral methods, finite differences, finite elements."""
