"""Attention to points with quadrature weights."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.attention.multihead import Attention


class WeightedAttention(nn.Module):
    r"""Attention in which every key has a quadrature weight wⱼ.

        αⱼ = wⱼ exp(scoreⱼ) / Σᵢ wᵢ exp(scoreᵢ),    Σⱼ αⱼ vⱼ ≈ ∫ exp(score) v dx / ∫ exp(score) dx

    log wⱼ is appended to the score as one more column. Only ratios of weights matter; with equal
    weights the result equals that of the attention itself.

    Args:
        attention: the attention to weight; it must have a geometric term.

    Example:
        >>> layer = WeightedAttention(Attention(8, heads=2, lengths=(0.1, 1.0)))
        >>> z_q, z_kv = torch.ones(1, 3, 8), torch.zeros(1, 5, 9)  # the last channel is log w
        >>> x_q, x_k = torch.rand(1, 3, 1), torch.rand(1, 5, 1)
        >>> layer(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=torch.tensor([False])).shape
        torch.Size([1, 3, 8])
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
        """Queries z_q at x_q attend to keys z_kv at x_k, whose last channel is log w."""
        log_weight = z_kv[..., -1]
        z_kv = z_kv[..., :-1]
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
