"""PDE surrogates with conditional neural fields."""
