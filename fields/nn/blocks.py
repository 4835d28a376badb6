"""Residual blocks made of attention and MLPs."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.dropout import NeuronDropout


class MLP(nn.Module):
    """Linear, GELU, Linear; with ``dropout`` neurons between the two fall silent in training."""

    def __init__(
        self, dim: int, *, out: int | None = None, ratio: float = 2.0, dropout: float = 0.0
    ):
        super().__init__()
        inner = int(dim * ratio)
        bend = nn.Sequential(nn.GELU(), NeuronDropout(inner, p=dropout)) if dropout else nn.GELU()
        self.layers = nn.Sequential(nn.Linear(dim, inner), bend, nn.Linear(inner, out or dim))

    def forward(self, z: Float[Tensor, "... h"]) -> Float[Tensor, "... o"]:
        """Applied to every token alike."""
        return self.layers(z)


class TransformerBlock(nn.Module):
    """Pre-norm residual block.   z ← z + Attn(LN z, LN source);   z ← z + MLP(LN z)

    ``attention`` is an `Attention` or a layer that wraps one. Without ``source`` it is
    self-attention, and the keys share the norm of the queries; the source has a norm of its own if
    ``dim_source`` is given and stays as it is otherwise.
    """

    def __init__(
        self,
        dim: int,
        attention: nn.Module,
        *,
        dim_source: int | None = None,
        ratio: float = 2.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.norm_source = nn.LayerNorm(dim_source) if dim_source else None
        self.attention = attention
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ratio=ratio, dropout=dropout)

    def forward(
        self,
        z: Float[Tensor, "b m h"],
        source: Float[Tensor, "b k c"] | None = None,
        *,
        x_q: Float[Tensor, "#b m d"] | None = None,
        x_k: Float[Tensor, "#b k d"] | None = None,
        periodic: Bool[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b m h"]:
        """Self-attention without ``source``, cross-attention with it."""
        query = self.norm(z)
        keys = (
            query
            if source is None
            else source
            if self.norm_source is None
            else self.norm_source(source)
        )
        z = z + self.attention(
            query, keys, x_q=x_q, x_k=x_q if x_k is None else x_k, periodic=periodic, mask=mask
        )
        return z + self.mlp(self.norm_mlp(z))
