"""Decoders evaluate the field that tokens describe, at any point."""

from fields.decoders.base import Decoder as Decoder
from fields.decoders.base import FittedDecoder as FittedDecoder
from fields.decoders.branch_trunk import BranchTrunk as BranchTrunk
from fields.decoders.concat import Concat as Concat
from fields.decoders.cpwl import CPWL as CPWL
from fields.decoders.cross_attention import CrossAttention as CrossAttention
from fields.decoders.film import FiLM as FiLM
from fields.decoders.fourier_interpolation import FourierInterpolation as FourierInterpolation
from fields.decoders.galerkin import Galerkin as Galerkin
from fields.decoders.hyper import Hyper as Hyper
from fields.decoders.pca import PCA as PCA
