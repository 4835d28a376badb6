"""Residual blocks made of attention and MLPs."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.dropout import NeuronDropout


class MLP(nn.Module):
    """Two linear layers with a GELU between them, z ↦ W₂ GELU(W₁ z + b₁) + b₂.

    Args:
        dim: width of the input.
        out: width of the output, by default ``dim``.
        ratio: width of the hidden layer relative to ``dim``.
        dropout: probability that a hidden neuron is dropped in training (`NeuronDropout`).

    Example:
        >>> import torch
        >>> MLP(8, out=3)(torch.ones(2, 5, 8)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(
        self, dim: int, *, out: int | None = None, ratio: float = 2.0, dropout: float = 0.0
    ):
        super().__init__()
        inner = int(dim * ratio)
        bend = nn.Sequential(nn.GELU(), NeuronDropout(inner, p=dropout)) if dropout else nn.GELU()
        self.layers = nn.Sequential(nn.Linear(dim, inner), bend, nn.Linear(inner, out or dim))

    def forward(self, z: Float[Tensor, "... h"]) -> Float[Tensor, "... o"]:
        """Apply the same layers to every token. Shape: (... h) -> (... o)."""
        return self.layers(z)


class TransformerBlock(nn.Module):
    """Pre-norm residual block.   z ← z + Attn(LN z, LN source);   z ← z + MLP(LN z)

    Without ``source`` the block is self-attention, and keys share the norm of the queries.

    Reference: Xiong et al. 2020 (pre-norm transformer).

    Args:
        dim: token width h.
        attention: an `Attention`, or a layer that wraps one.
        dim_source: width of the source; if given, the source has its own norm.
        ratio: width of the hidden layer of the MLP relative to ``dim``.
        dropout: probability that a hidden neuron is dropped in training.

    Example:
        >>> import torch
        >>> from fields.nn.attention import Attention
        >>> TransformerBlock(8, Attention(8, heads=2))(torch.ones(2, 5, 8)).shape
        torch.Size([2, 5, 8])
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
