"""Tokens become a field that can be asked anywhere."""

from fields.decoders.base import Decoder
from fields.decoders.cross_attention import CrossAttention

__all__ = ["CrossAttention", "Decoder"]
