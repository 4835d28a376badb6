"""Graph attention with additive scores, as first published."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.nn.attention.weights import Softmax


class GraphAttention(nn.Module):
    r"""Nodes average their neighbors, with weights from a small network on each pair.

        h'ᵢ = W hᵢ,    e_ij = LeakyReLU(aᵀ[h'ᵢ ; h'ⱼ]),    α_ij = softmax_{j~i} e_ij,    out_i = elu(Σ_{j~i} α_ij h'ⱼ)

    α is row-stochastic and not symmetric. A node without neighbors gives zero. Layer after layer
    the nodes become alike (over-smoothing); `fields.flows.grand` has the same idea with a law.

    The score is no bilinear form, so `attend` has no path for it; only the weights are shared with
    the rest.

    Reference: Veličković et al., ICLR 2018. Shape: h (b n h), edges True where i looks at j -> (b n
    o).

    Args:
        dim: width of the nodes.
        out: width of the result, ``dim`` unless given.
        heads: divides ``out``; their results are concatenated.
    """

    def __init__(self, dim: int, *, out: int | None = None, heads: int = 4):
        super().__init__()
        out = out or dim
        if out % heads:
            raise ValueError(
                f"GraphAttention has {out} channels, which {heads} heads cannot share. Use a divisor of {out}."
            )
        self.heads = heads
        self.lift = nn.Linear(dim, out, bias=False)
        self.pair = nn.Parameter(torch.randn(2, heads, out // heads) / math.sqrt(out // heads))
        self.softmax = Softmax()

    def forward(
        self, h: Float[Tensor, "b n h"], edges: Bool[Tensor, "#b n n"]
    ) -> Float[Tensor, "b n o"]:
        """One step."""
        lifted = rearrange(self.lift(h), "b n (heads e) -> b heads n e", heads=self.heads)
        gathered = self.weights(h, edges) @ lifted
        return F.elu(rearrange(gathered, "b heads n e -> b n (heads e)"))

    def weights(
        self, h: Float[Tensor, "b n h"], edges: Bool[Tensor, "#b n n"]
    ) -> Float[Tensor, "b heads n n"]:
        """α; aᵀ[h'ᵢ ; h'ⱼ] is a sum of two numbers, one of each node."""
        lifted = rearrange(self.lift(h), "b n (heads e) -> b heads n e", heads=self.heads)
        own, other = ((lifted * a[:, None]).sum(-1) for a in self.pair)
        score = F.leaky_relu(own[..., :, None] + other[..., None, :], 0.2)
        edges = edges[:, None]
        return self.softmax(score, edges)
