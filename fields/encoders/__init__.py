"""Input functions become tokens."""
