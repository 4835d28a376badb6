"""Waves on attention graphs."""

from __future__ import annotations

from typing import Literal

from fields import dynamics
from fields.integrators import Cayley
from fields.processors.block import wave_blocks
from fields.processors.stack import Stack


class GraphHamiltonian(Stack):
    r"""Blocks of: rotate channels, one Cayley step of a wave equation on an attention graph, move tokens along spheres.

        dq/dt = −Dᵀp,   dp/dt = D q,   E = ½|q|² + ½|p|²

    Each of the three keeps E, which has no weights: E is constant through the whole stack, in depth and in time, to
    rounding. Gradients neither vanish nor explode through a frozen D.

    ``metric="frozen"`` is the lecture's form, :class:`fields.dynamics.MetricHamiltonian`: attention in the inner products of a
    graph of nearest tokens, E = ½(qᵀA₀q + pᵀA₁p). A is part of the energy, so each block has an E of its own, constant while
    the block flows (in time: for ever), and ½|z|² is not kept.

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

        def field() -> dynamics.MetricHamiltonian | dynamics.GraphHamiltonian:
            if metric:
                return dynamics.MetricHamiltonian(dim, heads=heads)
            return dynamics.GraphHamiltonian(dim, heads=heads, edges=edges, frozen=frozen)

        blocks = wave_blocks(dim, field, Cayley, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
