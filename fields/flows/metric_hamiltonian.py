r"""Graph Hamiltonian with learned inner products: attention in the metric, not in the operator.

    dq/dt = −δ* p,   dp/dt = δ q,   δ* = A₀⁻¹ δᵀ A₁,   E = ½ (qᵀA₀q + pᵀA₁p),   dE/dt = 0

with q on tokens, p on the edges between nearest tokens, and A₀, A₁ diagonal matrices made of
attention. The law: E is constant as long as the metric is. The metric is therefore frozen at the
encoder's tokens; each block has an energy of its own, and in time that of the last block is
constant. With x̃ = A^½ x the operator is skew, and :class:`fields.integrators.Cayley` steps it. The
processor is ``GraphHamiltonian(metric="frozen")``.
"""

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

# Smallest weight of an edge: an inner product must not degenerate.
FLOOR = 1e-3

# Initial attention length of an edge, in token spacings.
SPREAD = 1.5


class EdgeMetric(NamedTuple):
    """The operator D = A₁^½ δ A₀^−½ and the roots A₀^½ (nodes) and A₁^½ (edges).

    Example:
        >>> from fields.core.sample import Latent
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> metric = MetricHamiltonianField(8, heads=2).metric(Context.of(latent))
        >>> metric.nodes.shape, metric.edges.shape
        (torch.Size([2, 2, 5, 1]), torch.Size([2, 2, 20, 1]))
    """

    d: Coboundary
    nodes: Float[Tensor, "b heads n 1"]
    edges: Float[Tensor, "b heads m 1"]


class MetricHamiltonianField(WaveField):
    r"""Waves on the graph of nearest tokens, in inner products made of attention.

        dq/dt = −δ* p,   dp/dt = δ q,   (δq)ᵢⱼ = qⱼ − qᵢ,   δ* = A₀⁻¹ δᵀ A₁
        E = ½ (qᵀA₀q + pᵀA₁p),   dE/dt = −qᵀδᵀA₁p + pᵀA₁δq = 0
        a₁ᵢⱼ = softplus(kᵢ·kⱼ/√d − ‖xᵢ − xⱼ‖²/2ℓ²) + ε,   a₀ᵢ = Σ of a₁ over the edges at i

    The metric is computed from the encoder's tokens and does not change, because it is part of the
    energy; Σ a₀ᵢ qᵢ is then constant too, and ½|x|² is not. A metric recomputed from the moving
    tokens would change E itself at every step, whatever the step size. With x̃ = A^½ x the flow is
    `GraphHamiltonianField` with one-hot attention, which is how it is stepped.

    Args:
        dim: token width h.
        heads: number of metrics, each for its slice of the channels.
        neighbors: edges from each token to its nearest others; of equally near ones the first.

    Raises:
        ValueError: ``heads`` does not divide ``dim``, or a context without positions and tokens.

    Shape: state (b n+m h), m = n · min(neighbors, n − 1).
    Reference: Gruber, Lee & Trask, NeurIPS 2023, the Hamiltonian bracket with learned metrics.

    Example:
        >>> from fields.core.sample import Latent
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> field, context = MetricHamiltonianField(8), Context.of(latent)
        >>> field(0.0, field.lift(latent.z), context).shape
        torch.Size([2, 25, 8])
    """

    law = Invariant.ENERGY

    def __init__(self, dim: int, *, heads: int = 2, neighbors: int = 6):
        super().__init__(dim)
        if dim % heads:
            raise ValueError(
                f"MetricHamiltonianField has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
            )
        self.heads = heads
        self.neighbors = neighbors
        self.norm = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.log_length = nn.Parameter(torch.full((heads,), math.log(SPREAD)))
        self.rotary = Rotary(dim // heads, max_frequency=MAX_FREQUENCY)

    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p; with at most ``neighbors`` + 1 tokens the graph is complete."""
        k = state.shape[1]
        n = math.isqrt(k) if k <= (self.neighbors + 1) ** 2 else k // (self.neighbors + 1)
        return state[:, :n], state[:, n:]

    def metric(self, context: Context) -> EdgeMetric:
        """D and both inner products, from the encoder's tokens and positions."""
        if (
            context.origin is None
            or context.pos is None
            or context.periodic is None
            or context.distance2 is None
        ):
            raise ValueError(
                "`MetricHamiltonianField` takes its graph and its metric from the context. "
                "Give `Context.of(latent)`."
            )
        z = context.origin
        near = self.nearest(context.distance2)
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
            ends = torch.cat([head, tail], dim=2).expand(*weight.shape[:2], -1, -1)
            nodes = mass.sqrt()[..., None]
            edges = weight.sqrt()[..., None]
            return EdgeMetric(coboundary(ends, weight), nodes, edges)

    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D, which does not depend on the moving tokens."""
        return self.metric(context).d

    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, A₀^½ q and A₁^½ p."""
        q, p = self.split(state)
        metric = self.metric(context)
        return (
            metric.d,
            metric.nodes * split_heads(q, self.heads),
            metric.edges * split_heads(p, self.heads),
        )

    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """A₀^−½ q and A₁^−½ p, as one state."""
        metric = self.metric(context)
        return merge_heads(torch.cat([q / metric.nodes, p / metric.edges], dim=2))

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """(z, 0): edges start at rest."""
        n = z.shape[1]
        return torch.cat(
            [z, z.new_zeros(z.shape[0], n * min(self.neighbors, n - 1), z.shape[2])], dim=1
        )

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """(−δ* p, δ q).   Shape: (b n+m h)."""
        _, dq, dp = self.skew(z, context)
        return self.from_frame(dq, dp, context)

    def nearest(self, distance2: Float[Tensor, "b n n"]) -> Int[Tensor, "b n s"]:
        """Index of the token at the other end of each edge."""
        n = distance2.shape[-1]
        others = distance2.masked_fill(
            torch.eye(n, dtype=torch.bool, device=distance2.device), torch.inf
        )
        return others.topk(min(self.neighbors, n - 1), largest=False).indices
