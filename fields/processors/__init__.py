"""Tokens evolve."""
