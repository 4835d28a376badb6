"""Tools around data files: describe, validate, repack, preview."""
