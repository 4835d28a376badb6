"""Fields on a graph: positions on the tokens, momenta on soft edges, and a skew operator made of attention."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Invariant
from fields.dynamics.wave import WaveField
from fields.flows.metric_hamiltonian import MetricHamiltonianField
from fields.integrators.cayley import Cayley
from fields.nn.geometry import rotate
from fields.nn.graph.incidence import Coboundary, SoftIncidence, merge_heads, split_heads
from fields.processors.block import wave_blocks
from fields.processors.stack import Stack


class GraphWaveField(WaveField):
    """State x = (q on n tokens, p on m edges), energy ½|x|², operator L(x) = [[0, −Dᵀ], [D, 0]].

    The energy has no weights and L is skew for every x: this is what lets attention change at every
    step, and weights at every layer, without touching the law. Before D acts, values are rotated by
    the position of their token or edge (an orthogonal change of frame, so no law notices), and D
    then depends on relative positions only.

    Args:
        dim: token width h.
        heads: operators, each on its slice of the channels.
        edges: number of latent edges, None for one per token.
        frozen: attention of the encoder's tokens instead of the moving ones.
    """

    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 2, edges: int | None = None, frozen: bool = False):
        super().__init__(dim)
        self.incidence = SoftIncidence(dim, heads=heads, edges=edges)
        self.edges, self.frozen = edges, frozen

    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p."""
        m = state.shape[1] // 2 if self.edges is None else self.edges
        q, p = state[..., : self.dim].split([state.shape[1] - m, m], dim=1)
        return q, p

    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D at these tokens."""
        q = context.origin if self.frozen and context.origin is not None else q
        features = context.shift(self.incidence.norm(q))
        return self.incidence(features, context.pos, context.periodic, context.distance2).to(
            q.dtype
        )

    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, and q and p in the rotated frame in which it acts."""
        q, p = self.split(state)
        heads = self.incidence.heads
        return self.operator(q, context), *self.turn(
            split_heads(q, heads), split_heads(p, heads), context
        )

    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """q and p back in their own frame, as one state."""
        return merge_heads(torch.cat(self.turn(q, p, context, back=True), dim=2))

    def turn(
        self,
        q: Float[Tensor, "b heads n e"],
        p: Float[Tensor, "b heads m e"],
        context: Context,
        *,
        back: bool = False,
    ) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """Values rotated by where they are; latent edges keep theirs in the frame in which D acts."""
        if context.pos is None or context.periodic is None:
            return q, p
        turn = self.incidence.rotary(context.pos, context.periodic)
        return rotate(q, turn, back=back), rotate(p, turn, back=back) if self.edges is None else p

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """Edges start at rest: p = 0. To start with D q would cost one more operator and gains nothing."""
        m = z.shape[1] if self.edges is None else self.edges
        return torch.cat([z, z.new_zeros(z.shape[0], m, z.shape[2])], dim=1)

    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|q|² + ½|p|²."""
        return 0.5 * state[..., : self.dim].square().sum((-2, -1))


class GraphHamiltonianField(GraphWaveField):
    r"""Waves on an attention graph.

        dq/dt = −Dᵀ p,   dp/dt = D q,   E = ½|q|² + ½|p|²,   dE/dt = 0

    D = D(q) is the soft incidence of head and tail attention, at most √2 in norm. With a fixed
    energy and a state-dependent skew operator nothing is lost: any conservative flow is of this
    form with one more coordinate.

    Shape: state (b n+m h).
    """

    law = Invariant.ENERGY

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """L(x) x."""
        _, dq, dp = self.skew(z, context)
        return self.from_frame(dq, dp, context)


class GraphHamiltonian(Stack):
    r"""Blocks of: rotate channels, one Cayley step of a wave equation on an attention graph, move tokens along spheres.

        dq/dt = −Dᵀp,   dp/dt = D q,   E = ½|q|² + ½|p|²

    Each of the three keeps E, which has no weights: E is constant through the whole stack, in depth
    and in time, to rounding. Gradients neither vanish nor explode through a frozen D.

    ``metric="frozen"`` is the lecture's form, :class:`fields.flows.MetricHamiltonianField`:
    attention in the inner products of a graph of nearest tokens, E = ½(qᵀA₀q + pᵀA₁p). A is part of
    the energy, so each block has an E of its own, constant while the block flows (in time: for
    ever), and ½|z|² is not kept.

    Args:
        dim: token width h.
        depth: blocks.
        heads: incidence operators, each on its slice of the channels.
        edges: latent edges, None for one per token.
        frozen: attention of the encoder's tokens instead of the moving ones.
        metric: None, or "frozen" for the lecture's form; ``edges`` and ``frozen`` then have no say.
        ratio: hidden width of the MLP over h.
        h: step size at the start; learned between 0 and 4.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        heads: int = 4,
        edges: int | None = None,
        frozen: bool = False,
        metric: Literal["frozen"] | None = None,
        ratio: float = 2.0,
        h: float = 1.0,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        if metric not in (None, "frozen"):
            raise ValueError(
                f"metric={metric!r} would change the energy itself at every step, so nothing would be kept. "
                'Use metric="frozen", or None for attention in the operator, which may move.'
            )

        def field() -> MetricHamiltonianField | GraphHamiltonianField:
            if metric:
                return MetricHamiltonianField(dim, heads=heads)
            return GraphHamiltonianField(dim, heads=heads, edges=edges, frozen=frozen)

        blocks = wave_blocks(dim, field, Cayley, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
