"""Graph attention with additive scores."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.nn.attention.weights import Softmax


class GraphAttention(nn.Module):
    r"""Each node averages its neighbors, with weights from a small network for each pair.

        h'ᵢ = W hᵢ,   e_ij = LeakyReLU(aᵀ[h'ᵢ ; h'ⱼ]),   α_ij = softmax_{j~i} e_ij,
        out_i = elu(Σ_{j~i} α_ij h'ⱼ)

    α is row-stochastic and not symmetric. A node without neighbors gives zero. With many layers all
    nodes become equal (over-smoothing); `fields.flows.grand` is a related method with a law. The
    score is not a bilinear form, so that `attention_kernel` cannot compute it.

    Reference: Veličković et al., ICLR 2018, eqs. (1) to (5).

    Args:
        dim: width of the nodes.
        out: width of the result, by default ``dim``.
        heads: number of heads, a divisor of ``out``; their results are concatenated.

    Shape: h (b n h), edges True where i attends to j -> (b n o).

    Example:
        >>> edges = torch.ones(1, 5, 5, dtype=torch.bool)
        >>> GraphAttention(8)(torch.ones(2, 5, 8), edges).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, *, out: int | None = None, heads: int = 4):
        super().__init__()
        out = out or dim
        if out % heads:
            raise ValueError(
                f"GraphAttention has {out} channels, which {heads} heads cannot share. "
                f"Use a divisor of {out}."
            )
        self.heads = heads
        self.lift = nn.Linear(dim, out, bias=False)
        self.pair = nn.Parameter(torch.randn(2, heads, out // heads) / math.sqrt(out // heads))
        self.softmax = Softmax()

    def forward(
        self, h: Float[Tensor, "b n h"], edges: Bool[Tensor, "#b n n"]
    ) -> Float[Tensor, "b n o"]:
        """The weighted mean of the neighbors of every node."""
        lifted = rearrange(self.lift(h), "b n (heads e) -> b heads n e", heads=self.heads)
        gathered = self.weights(h, edges) @ lifted
        return F.elu(rearrange(gathered, "b heads n e -> b n (heads e)"))

    def weights(
        self, h: Float[Tensor, "b n h"], edges: Bool[Tensor, "#b n n"]
    ) -> Float[Tensor, "b heads n n"]:
        """The weights α; aᵀ[h'ᵢ ; h'ⱼ] is a sum of one number for each node."""
        lifted = rearrange(self.lift(h), "b n (heads e) -> b heads n e", heads=self.heads)
        own, other = ((lifted * a[:, None]).sum(-1) for a in self.pair)
        score = F.leaky_relu(own[..., :, None] + other[..., None, :], 0.2)
        edges = edges[:, None]
        return self.softmax(score, edges)
