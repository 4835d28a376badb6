"""Interpolation between tokens and points: trigonometric, piecewise linear, multilinear, POD."""
