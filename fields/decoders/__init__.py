"""Tokens become a field that can be asked anywhere."""
