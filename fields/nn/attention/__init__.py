"""Attention: multi-head layers, kernels, masks, closed-form gradients and statistics of the weights."""

from fields.nn.attention.multihead import Attention as Attention
