"""Tools for data files: describe, validate, repack, preview."""
