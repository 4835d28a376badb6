"""Waves on attention graphs that turn into heat."""

from __future__ import annotations

from fields import dynamics
from fields.integrators import MetriplecticStep
from fields.processors.block import wave_blocks
from fields.processors.stack import Stack


class Metriplectic(Stack):
    r"""Blocks of: rotate channels, one metriplectic step on an attention graph, move tokens along spheres.

        dx/dt = L x − LᵀΓ(s) L x,   dsᵢ/dt = Γᵢ |(L x)ᵢ|²,   E = ½|x|² + Σ sᵢ,   S = Σ log sᵢ

    E is constant and S never decreases, at any step of any block, in depth and in time.

    Args:
        dim, depth, heads, edges, frozen, ratio, h, dt, recompute: as in
            :class:`fields.processors.graph_hamiltonian.GraphHamiltonian`.
        gamma: viscosity at the start.
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
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> dynamics.Metriplectic:
            return dynamics.Metriplectic(dim, heads=heads, edges=edges, frozen=frozen, gamma=gamma)

        blocks = wave_blocks(dim, field, MetriplecticStep, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
