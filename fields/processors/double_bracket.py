"""Waves on attention graphs that lose energy, never gain it."""

from __future__ import annotations

from fields import dynamics
from fields.integrators import SplitBracket
from fields.processors.block import wave_blocks
from fields.processors.stack import Stack


class DoubleBracket(Stack):
    r"""Blocks of: rotate channels, one double-bracket step on an attention graph, move tokens along spheres.

        dx/dt = L x − γ LᵀL x,   E = ½|x|²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time. ``gamma=0, learned=False`` is the graph Hamiltonian
    processor bit by bit: the mix of both is learned or fixed.

    Args:
        dim, depth, heads, edges, frozen, ratio, h, dt, recompute: as in
            :class:`fields.processors.graph_hamiltonian.GraphHamiltonian`.
        gamma: damping, the initial value if learned.
        learned: whether γ is trained.
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
        gamma: float = 0.1,
        learned: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> dynamics.DoubleBracket:
            return dynamics.DoubleBracket(dim, heads=heads, edges=edges, frozen=frozen, gamma=gamma, learned=learned)

        blocks = wave_blocks(dim, field, SplitBracket, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
