"""Attention with continuous depth."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, VectorField
from fields.nn.incidence import merge_heads, split_heads

SPACINGS = (1.0, 4.0)  # initial attention lengths of the heads, in token spacings


class AttentionField(VectorField):
    r"""The residual branch of a transformer block, read as a velocity.

        dz/dt = MHA(LN z) + MLP(LN z),   scores QKᵀ/√d − |xᵢ − xⱼ|²/2ℓ²

    One Euler step of size 1 is a (parallel) transformer block; weights shared over L steps of size T/L make an ODE, whose
    solution the steps approach with the order of the method. It keeps no law.

    Args:
        dim: token width h.
        heads: attention heads.
        ratio: hidden width of the MLP over h.

    Reference: Lu et al. 2019 (arXiv:1906.02762); Geshkovski et al. 2023 (arXiv:2312.10794).
    """

    def __init__(self, dim: int, *, heads: int = 4, ratio: float = 4.0):
        super().__init__()
        if dim % heads:
            raise ValueError(f"AttentionField has {dim} channels, which {heads} heads cannot share. Use a divisor of {dim}.")
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        hidden = int(ratio * dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.log_length = nn.Parameter(torch.linspace(*map(math.log, SPACINGS), heads))
        for layer in (self.out, self.mlp[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """MHA + MLP."""
        features = context.shift(self.norm_attention(z))
        query, key, value = (split_heads(x, self.heads) for x in self.qkv(features).chunk(3, dim=-1))
        score = (query.shape[-1] ** -0.5 * query) @ key.mT
        if context.distance2 is not None:
            score = score - context.distance2[:, None] * (0.5 * (-2 * self.log_length).exp())[:, None, None]
        attended = score.softmax(-1).to(value.dtype) @ value
        return self.out(merge_heads(attended)) + self.mlp(context.shift(self.norm_mlp(z)))
