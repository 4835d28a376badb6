r"""Graph Hamiltonian flow: waves between tokens and the edges of an attention graph.

    dq/dt = −Dᵀ p,   dp/dt = D q,   E = ½|q|² + ½|p|²,   dE/dt = 0

with q on tokens, p on edges and D(q) the incidence matrix of attention. The law: E is constant, at
every step, for all step sizes and weights. The step is :class:`fields.integrators.Cayley`, which
serves every skew operator: x₁ − x = h L xₘ with xₘ = ½(x + x₁) and Lᵀ = −L, hence
|x₁|² − |x|² = 2h xₘᵀL xₘ = 0. E has no weights, so it is one energy through the whole processor, in
depth and in time.
"""

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
    """State x = (q on n tokens, p on m edges), E = ½|x|², operator L(x) = [[0, −Dᵀ], [D, 0]].

    E has no weights and L is skew for every x, so attention may change at every step, and weights
    at every layer, without affecting the law. Before D acts, values are rotated by the position of
    their token or edge (an orthogonal change of coordinates, which leaves E unchanged), so that D
    depends on relative positions only.

    Args:
        dim: token width h.
        heads: number of operators, each on its slice of the channels.
        edges: number of latent edges; None for one per token.
        frozen: use the attention of the encoder's tokens instead of the moving ones.

    Example:
        >>> field: GraphWaveField = GraphHamiltonianField(8, edges=3)
        >>> q, p = field.split(field.lift(torch.randn(2, 5, 8)))
        >>> q.shape, p.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 3, 8]))
    """

    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 2, edges: int | None = None, frozen: bool = False):
        super().__init__(dim)
        self.incidence = SoftIncidence(dim, heads=heads, edges=edges)
        self.edges = edges
        self.frozen = frozen

    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """The fields q on the nodes and p on the edges.   Shape: (b k s) -> (b n h), (b m h)."""
        m = state.shape[1] // 2 if self.edges is None else self.edges
        q, p = state[..., : self.dim].split([state.shape[1] - m, m], dim=1)
        return q, p

    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D at these tokens."""
        q = context.origin if self.frozen and context.origin is not None else q
        features = context.shift(self.incidence.norm(q))
        d = self.incidence(features, context.pos, context.periodic, context.distance2)
        return d.to(q.dtype)

    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, and q and p in the rotated coordinates in which it acts."""
        q, p = self.split(state)
        heads = self.incidence.heads
        turned = self.turn(split_heads(q, heads), split_heads(p, heads), context)
        return self.operator(q, context), *turned

    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """q and p rotated back, as one state."""
        return merge_heads(torch.cat(self.turn(q, p, context, back=True), dim=2))

    def turn(
        self,
        q: Float[Tensor, "b heads n e"],
        p: Float[Tensor, "b heads m e"],
        context: Context,
        *,
        back: bool = False,
    ) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """Values rotated by their positions. Latent edges have none and are not rotated."""
        if context.pos is None or context.periodic is None:
            return q, p
        turn = self.incidence.rotary(context.pos, context.periodic)
        return rotate(q, turn, back=back), rotate(p, turn, back=back) if self.edges is None else p

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """(z, 0): edges start at rest. Starting at D q was measured and gained nothing."""
        m = z.shape[1] if self.edges is None else self.edges
        return torch.cat([z, z.new_zeros(z.shape[0], m, z.shape[2])], dim=1)

    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|q|² + ½|p|² of each sample."""
        return 0.5 * state[..., : self.dim].square().sum((-2, -1))


class GraphHamiltonianField(GraphWaveField):
    r"""Waves on an attention graph.

        dq/dt = −Dᵀ p,   dp/dt = D q,   E = ½|q|² + ½|p|²,   dE/dt = 0

    D = D(q) is the soft incidence matrix of head and tail attention, with |D| ≤ √2. A fixed energy
    with a state-dependent skew operator does not restrict the flow: any conservative flow has this
    form with one more coordinate.

    Args:
        dim: token width h.
        heads: see :class:`GraphWaveField`.
        edges: see :class:`GraphWaveField`.
        frozen: see :class:`GraphWaveField`.

    Shape: state (b n+m h) -> (b n+m h).

    Example:
        >>> field = GraphHamiltonianField(8)
        >>> field(0.0, field.lift(torch.randn(2, 5, 8))).shape
        torch.Size([2, 10, 8])
    """

    law = Invariant.ENERGY

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """L(x) x.   Shape: (b k h)."""
        _, dq, dp = self.skew(z, context)
        return self.from_frame(dq, dp, context)


class GraphHamiltonian(Stack):
    r"""Blocks of: rotate channels, one Cayley step on a graph, move tokens along spheres.

        dq/dt = −Dᵀp,   dp/dt = D q,   E = ½|q|² + ½|p|²

    Each of the three preserves E, which has no weights: E is constant through the whole stack, in
    depth and in time, to rounding. Gradients neither vanish nor explode through a frozen D.

    ``metric="frozen"`` selects :class:`fields.flows.MetricHamiltonianField`: attention in the inner
    products of a graph of nearest tokens, E = ½(qᵀA₀q + pᵀA₁p). A is part of the energy, so each
    block has an energy of its own, constant within the block (in time: always), and ½|z|² is not
    preserved.

    Args:
        dim: token width h.
        depth: number of blocks.
        heads: incidence matrices, each on its slice of the channels.
        edges: number of latent edges; None for one per token.
        frozen: use the attention of the encoder's tokens instead of the moving ones.
        metric: None, or "frozen" for attention in the inner products; ``edges`` and ``frozen`` are
            then ignored.
        ratio: hidden width of the MLP over h.
        h: initial step size; learned between 0 and 4.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Raises:
        ValueError: another ``metric``.

    Reference: Gruber, Lee & Trask, NeurIPS 2023, the Hamiltonian bracket.

    Example:
        >>> GraphHamiltonian(8).law.value
        'the energy is constant'
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
                f"metric={metric!r} would change the energy itself at every step, so that it could "
                'not be constant. Use metric="frozen", or None for attention in the operator, '
                "which may change."
            )

        def field() -> MetricHamiltonianField | GraphHamiltonianField:
            if metric:
                return MetricHamiltonianField(dim, heads=heads)
            return GraphHamiltonianField(dim, heads=heads, edges=edges, frozen=frozen)

        blocks = wave_blocks(dim, field, Cayley, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
