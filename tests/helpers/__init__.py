"""Helpers that tests share; imported as ``helpers`` (``pythonpath`` in pyproject.toml)."""
