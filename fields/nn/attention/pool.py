"""Attention pooling: one vector per sample from all tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.nn.attention.multihead import Attention
from fields.nn.embeddings import FourierFeatures


class AttentionPooling(nn.Module):
    r"""One vector per sample: learned seeds sⱼ attend to all tokens with their positions.

        code = W [ Attn(s₁, t), …, Attn(s_r, t) ],    tᵢ = LN(zᵢ) + P γ(xᵢ)

    γ are Fourier features of absolute positions, also on homogeneous axes: without them, a field
    and its translations would have the same code. A decoder that uses the pooling therefore does
    not commute with translations. The order of the tokens does not matter.

    Reference: Lee et al., Set Transformer, ICML 2019, section 3.2 (pooling by attention).

    Args:
        dim: token width h and width of the code.
        schema: names and geometry of the problem.
        seeds: number r of seeds.
        heads: number of attention heads.

    Example:
        >>> from fields.core.sample import Latent, Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> latent = Latent(torch.ones(2, 5, 8), torch.rand(1, 5, 1), torch.tensor([False]))
        >>> AttentionPooling(8, schema)(latent).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int, schema: Schema, *, seeds: int = 4, heads: int = 4):
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(seeds, dim))
        self.norm = nn.LayerNorm(dim)
        self.fourier = FourierFeatures(schema.periodic)
        self.place = nn.Linear(self.fourier.dim, dim)
        self.attention = Attention(dim, heads=heads)
        self.mix = nn.Linear(seeds * dim, dim)

    def forward(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None
    ) -> Float[Tensor, "b h"]:
        """Tokens to the code, shifted by the conditioning on the constants of the PDE if given."""
        t = self.norm(latent.z) + self.place(self.fourier(latent.pos))
        s = self.attention(self.seeds.expand(len(t), -1, -1), t)
        code = self.mix(s.flatten(1))
        return code if cond is None else code + cond
