"""The lecture's graph Hamiltonian: attention in the inner products instead of in the operator."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fields.dynamics.base import Context, Invariant, full_precision
from fields.dynamics.wave import WaveField
from fields.nn.geometry import Rotary, rotate
from fields.nn.graph.incidence import (
    MAX_FREQUENCY,
    Coboundary,
    coboundary,
    merge_heads,
    split_heads,
)

FLOOR = 1e-3  # smallest weight of an edge: an inner product must not degenerate

SPREAD = 1.5  # initial attention length of an edge, in token spacings


class EdgeMetric(NamedTuple):
    """The operator with the roots of its inner products."""

    d: Coboundary  # A₁^½ δ A₀^−½
    nodes: Float[Tensor, "b heads n 1"]  # A₀^½
    edges: Float[Tensor, "b heads m 1"]  # A₁^½


class MetricHamiltonianField(WaveField):
    r"""Waves on the graph of nearest tokens, in inner products made of attention.

        dq/dt = −δ* p,   dp/dt = δ q,   (δq)ᵢⱼ = qⱼ − qᵢ,   δ* = A₀⁻¹ δᵀ A₁,   E = ½ (qᵀA₀q + pᵀA₁p)
        a₁ᵢⱼ = softplus(kᵢ·kⱼ/√d − ‖xᵢ − xⱼ‖²/2ℓ²) + ε,   a₀ᵢ = Σ of a₁ over the edges at i

    The metric is taken from the encoder's tokens and stays frozen, because it is part of the
    energy: then E is constant, dE/dt = −qᵀδᵀA₁p + pᵀA₁δq = 0, and so is Σ a₀ᵢ qᵢ. It does not keep
    ½|x|², and one block's E is not another's: the law holds within a block. Recomputed from the
    moving tokens the metric would change E itself at every step, and no step size would help. With
    x̃ = A^½ x it is `GraphHamiltonian` with one-hot attention, which is how it is stepped.

    Args:
        dim: token width h.
        heads: metrics, each for its slice of the channels.
        neighbors: edges that each token sends to its nearest others; of equally near ones the
            first.

    Shape: state (b n+m h), m = n · min(neighbors, n − 1).
    """

    law = Invariant.ENERGY

    def __init__(self, dim: int, *, heads: int = 2, neighbors: int = 6):
        super().__init__(dim)
        if dim % heads:
            raise ValueError(
                f"MetricHamiltonianField has {dim} channels, which {heads} heads cannot share. Use a divisor of {dim}."
            )
        self.heads, self.neighbors = heads, neighbors
        self.norm = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.log_length = nn.Parameter(torch.full((heads,), math.log(SPREAD)))
        self.rotary = Rotary(dim // heads, max_frequency=MAX_FREQUENCY)

    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p; a graph of few tokens is complete."""
        k = state.shape[1]
        n = math.isqrt(k) if k <= (self.neighbors + 1) ** 2 else k // (self.neighbors + 1)
        return state[:, :n], state[:, n:]

    def metric(self, context: Context) -> EdgeMetric:
        """Both inner products, from what the context holds fixed."""
        if (
            context.origin is None
            or context.pos is None
            or context.periodic is None
            or context.distance2 is None
        ):
            raise ValueError(
                "`MetricHamiltonianField` takes its graph and its metric from the context. Give `Context.of(latent)`."
            )
        z, near = context.origin, self.nearest(context.distance2)
        n = z.shape[1]
        start = torch.arange(n, device=z.device)[None, :, None].expand_as(near)
        tail, head = (F.one_hot(x.flatten(1)[:, None], n).to(z.dtype) for x in (start, near))
        spacing2 = n ** (-2 / context.pos.shape[-1])
        with full_precision(z):  # all of it: the metric is part of the energy
            key = split_heads(self.key(context.shift(self.norm(z))), self.heads)
            key = rotate(key, self.rotary(context.pos, context.periodic))
            reach = (
                context.distance2[:, None]
                * (0.5 / spacing2 * (-2 * self.log_length).exp())[:, None, None]
            )
            score = key @ key.mT * key.shape[-1] ** -0.5 - reach
            weight = F.softplus((tail @ score * head).sum(-1)) + FLOOR
            mass = (weight[..., None] * (head + tail)).sum(-2) + torch.finfo(z.dtype).eps
            ends = torch.cat([head, tail], dim=2).expand(
                *weight.shape[:2], -1, -1
            )  # of all samples and heads
            return EdgeMetric(
                coboundary(ends, weight), mass.sqrt()[..., None], weight.sqrt()[..., None]
            )

    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D, whatever the tokens are now."""
        return self.metric(context).d

    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, A₀^½ q and A₁^½ p."""
        (q, p), metric = self.split(state), self.metric(context)
        return (
            metric.d,
            metric.nodes * split_heads(q, self.heads),
            metric.edges * split_heads(p, self.heads),
        )

    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """A₀^−½ and A₁^−½ of them."""
        metric = self.metric(context)
        return merge_heads(torch.cat([q / metric.nodes, p / metric.edges], dim=2))

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """Edges start at rest, p = 0, as those of `GraphHamiltonian` do."""
        n = z.shape[1]
        return torch.cat(
            [z, z.new_zeros(z.shape[0], n * min(self.neighbors, n - 1), z.shape[2])], dim=1
        )

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """(−δ* p, δ q)."""
        _, dq, dp = self.skew(z, context)
        return self.from_frame(dq, dp, context)

    def nearest(self, distance2: Float[Tensor, "b n n"]) -> Int[Tensor, "b n s"]:
        """The other end of each edge."""
        n = distance2.shape[-1]
        others = distance2.masked_fill(
            torch.eye(n, dtype=torch.bool, device=distance2.device), torch.inf
        )
        return others.topk(min(self.neighbors, n - 1), largest=False).indices
