"""Tokens as particles on orbits of constant energy."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics import AttentionEnergy, CanonicalHamiltonian, Energy
from fields.integrators import KineticProjection
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.block import Block
from fields.processors.stack import Stack


class Hamiltonian(Stack):
    r"""Blocks of: rotate all channels, then follow a learned Hamiltonian exactly on its energy surface.

        z ← R_l z;   dq/dt = m⁻¹p, dp/dt = −∇V_l(q);   E_l = ½ Σ m⁻¹p² + V_l(q) constant

    In depth every block has its own energy: within a block E_l is constant to rounding, between blocks |z| is; no single
    energy spans the stack. In time the last block is one autonomous flow, and its energy is constant for ever.

    Args:
        dim: token width h, even.
        depth: blocks.
        steps: Verlet steps of each block.
        energy: c -> V on c = h/2 channels.
        h: step size at the start; learned between 0 and 1.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        steps: int = 1,
        energy: Callable[[int], Energy] = AttentionEnergy,
        ratio: float = 2.0,
        h: float = 0.25,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            Block(
                field=CanonicalHamiltonian(dim, energy=energy),
                integrator=KineticProjection(),
                steps=steps,
                h=h,
                rotate=Rotation(dim),
                react=SphereMLP(dim, ratio=ratio),
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
