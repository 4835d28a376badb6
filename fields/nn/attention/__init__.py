"""Attention: multi-head layers, kernels, masks, gradients and statistics of the weights."""

from fields.nn.attention.multihead import Attention as Attention
