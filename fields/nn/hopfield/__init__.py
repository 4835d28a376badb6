"""Associative memories: modern (continuous) and binary Hopfield networks."""
