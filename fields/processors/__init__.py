"""Tokens evolve."""

from fields.processors.base import Processor
from fields.processors.transformer import Transformer

__all__ = ["Processor", "Transformer"]
