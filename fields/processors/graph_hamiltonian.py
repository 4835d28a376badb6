"""Waves on attention graphs."""

from __future__ import annotations

from fields import dynamics
from fields.integrators import Cayley
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.stack import Block, Stack


class GraphHamiltonian(Stack):
    r"""Blocks of: rotate channels, one Cayley step of a wave equation on an attention graph, move tokens along spheres.

        dq/dt = −Dᵀp,   dp/dt = D q,   E = ½|q|² + ½|p|²

    Each of the three keeps E, which has no weights: E is constant through the whole stack, in depth and in time, to
    rounding. Gradients neither vanish nor explode through a frozen D.

    Args:
        dim: token width h.
        depth: blocks.
        heads: incidence operators, each on its slice of the channels.
        edges: latent edges, None for one per token.
        frozen: attention of the encoder's tokens instead of the moving ones.
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
        ratio: float = 2.0,
        h: float = 1.0,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            Block(
                field=dynamics.GraphHamiltonian(dim, heads=heads, edges=edges, frozen=frozen),
                integrator=Cayley(),
                h=h,
                h_max=4.0,
                rotate=Rotation(dim),
                react=SphereMLP(dim, ratio=ratio),
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
