"""Encoders map an input function, given by its values at points, to tokens."""

from fields.encoders.base import Encoder as Encoder
from fields.encoders.branch_net import BranchNet as BranchNet
from fields.encoders.cross_attention_encoder import CrossAttentionEncoder as CrossAttentionEncoder
from fields.encoders.fourier_sampling import FourierSampling as FourierSampling
from fields.encoders.multi_input import MultiInput as MultiInput
from fields.encoders.pointwise import PointwiseEncoder as PointwiseEncoder
from fields.encoders.windowed_moments import WindowedMoments as WindowedMoments
