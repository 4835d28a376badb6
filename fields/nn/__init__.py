"""Layers shared by encoders, processors and decoders."""
