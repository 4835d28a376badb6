"""Attention to points that stand for unequal parts of the domain."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.attention.multihead import Attention


class WeightedAttention(nn.Module):
    r"""The given attention with a quadrature weight wⱼ of every key.

        αⱼ = wⱼ exp(scoreⱼ) / Σᵢ wᵢ exp(scoreᵢ),    Σⱼ αⱼ vⱼ ≈ ∫ exp(score) v dx / ∫ exp(score) dx

    log wⱼ is one more column of the score. Only ratios of weights matter; with equal weights it is
    the attention itself.

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
        asked = self.attention.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic, mask=mask)
        assert asked.columns is not None  # the geometric term
        cols_q, cols_k = asked.columns
        cols_k = cols_k.expand(len(z_kv), -1, -1, -1)
        own = log_weight.to(cols_k.dtype)[:, None, :, None].expand(*cols_k.shape[:-1], 1)
        columns = (
            torch.cat([cols_q, torch.ones_like(cols_q[..., :1])], dim=-1),
            torch.cat([cols_k, own], dim=-1),
        )
        return self.attention.gather(asked._replace(columns=columns))
