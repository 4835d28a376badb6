"""The graph attention layer of the lecture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.incidence import merge_heads, split_heads


class GAT(nn.Module):
    r"""Each token becomes a weighted mean of its neighbours' features.

        h' = W h,   eᵢⱼ = LeakyReLU(aᵀ [h'ᵢ ; h'ⱼ]),   αᵢⱼ = softmax over j ~ i,   hᵢ ← σ(Σⱼ αᵢⱼ h'ⱼ)

    aᵀ[h'ᵢ ; h'ⱼ] = a₁·h'ᵢ + a₂·h'ⱼ, so scores cost k² additions and no product. α is row-stochastic and not symmetric; layers
    in sequence over-smooth. A node without neighbours gives σ(0).

    Reference: Veličković et al., ICLR 2018.
    Shape: h (b k h), neighbours (b k k), True where j ~ i, or None for all -> (b k h).
    """

    def __init__(self, dim: int, *, heads: int = 4, slope: float = 0.2):
        super().__init__()
        if dim % heads:
            raise ValueError(f"GAT has {dim} channels, which {heads} heads cannot share. Use a divisor of {dim}.")
        self.heads, self.slope = heads, slope
        self.feature = nn.Linear(dim, dim, bias=False)
        self.score = nn.Parameter(torch.randn(2, heads, dim // heads) * (heads / dim) ** 0.5)

    def weights(self, features: Float[Tensor, "b heads k e"], neighbours: Bool[Tensor, "#b k k"] | None = None) -> Tensor:
        """α; rows without neighbours are zero."""
        own, other = einsum(features, self.score, "b heads k e, two heads e -> two b heads k")
        score = F.leaky_relu(own[..., :, None] + other[..., None, :], self.slope)
        if neighbours is None:
            return score.softmax(-1)
        neighbours = neighbours[:, None]
        alpha = score.masked_fill(~neighbours, torch.finfo(score.dtype).min).softmax(-1)
        return alpha * neighbours.any(-1, keepdim=True)

    def forward(self, h: Float[Tensor, "b k h"], neighbours: Bool[Tensor, "#b k k"] | None = None) -> Float[Tensor, "b k h"]:
        """One layer."""
        features = split_heads(self.feature(h), self.heads)
        return F.elu(merge_heads(self.weights(features, neighbours) @ features))
