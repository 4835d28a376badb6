"""Attention to points that stand for unequal parts of the domain."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.attention import Attention, attend
from fields.nn.geometry import rotate


class WeightedAttention(nn.Module):
    r"""The given attention with a quadrature weight wⱼ of every key.

        αⱼ = wⱼ exp(scoreⱼ) / Σᵢ wᵢ exp(scoreᵢ),    Σⱼ αⱼ vⱼ ≈ ∫ exp(score) v dx / ∫ exp(score) dx

    log wⱼ is one more column of the score. Only ratios of weights matter; with equal weights it is the attention itself.

    Args:
        attention: what is weighted; it has a geometric term.
    """

    def __init__(self, attention: Attention):
        super().__init__()
        self.attention = attention

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"],
        x_k: Float[Tensor, "#b k d"],
        periodic: Bool[Tensor, "d"],
        mask: Bool[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q at x_q gather from keys z_kv at x_k, whose last channel is log w."""
        z_kv, log_weight = z_kv[..., :-1], z_kv[..., -1]
        q, k, v, columns, turn = self.attention.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic)
        assert columns is not None  # the geometric term
        cols_q = torch.cat([columns[0], torch.ones_like(columns[0][..., :1])], dim=-1)
        cols_k = columns[1].expand(len(z_kv), -1, -1, -1)
        own = log_weight.to(cols_k.dtype)[:, None, :, None].expand(*cols_k.shape[:-1], 1)
        allowed = None if mask is None else mask[:, None, None]
        out = attend(q, k, v, columns=(cols_q, torch.cat([cols_k, own], dim=-1)), mask=allowed)
        out = out if turn is None or not self.attention.rotate_values else rotate(out, turn, back=True)
        return self.attention.out(rearrange(out, "b heads m e -> b m (heads e)"))
