"""Many tokens become one code."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.nn.attention.multihead import Attention
from fields.nn.embeddings import FourierFeatures


class AttentionPooling(nn.Module):
    r"""One code per sample: learned seeds sⱼ attend to all tokens, which are tied to their places first.

        code = W [ Attn(s₁, t), …, Attn(s_r, t) ],    tᵢ = LN(zᵢ) + P γ(xᵢ)

    Places are absolute, on homogeneous axes too: a code that forgot where its tokens were could not
    tell a field from the shifted one. A decoder that uses it therefore does not commute with
    translations. The order of tokens does not matter.

    Args:
        dim: token width h and width of the code.
        schema: names and geometry of the problem.
        seeds: how many seeds r.
        heads: attention heads.
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
        """Tokens, and the embedding of the PDE's constants where there are some -> code."""
        t = self.norm(latent.z) + self.place(self.fourier(latent.pos))
        s = self.attention(self.seeds.expand(len(t), -1, -1), t)
        code = self.mix(s.flatten(1))
        return code if cond is None else code + cond
