"""Interpolation bases: hat functions, multilinear cells, trigonometric polynomials, principal components."""
