"""Tokens become a field that can be asked anywhere."""

from fields.decoders.base import Decoder, FittedDecoder
from fields.decoders.concat import Concat
from fields.decoders.cpwl import CPWL
from fields.decoders.cross_attention import CrossAttention
from fields.decoders.deeponet import DeepONet
from fields.decoders.film import FiLM
from fields.decoders.galerkin import Galerkin
from fields.decoders.hyper import Hyper
from fields.decoders.pca import PCA
from fields.decoders.trigonometric import Trigonometric

__all__ = [
    "CPWL",
    "PCA",
    "Concat",
    "CrossAttention",
    "Decoder",
    "DeepONet",
    "FiLM",
    "FittedDecoder",
    "Galerkin",
    "Hyper",
    "Trigonometric",
]
