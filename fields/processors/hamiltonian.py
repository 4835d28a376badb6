"""Tokens as particles on orbits of constant energy."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics import AttentionEnergy, CanonicalHamiltonian, Energy
from fields.integrators import KineticProjection
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.block import Block
from fields.processors.stack import Stack


class Hamiltonian(Stack):
    r"""Blocks of: rotate all channels, follow a learned Hamiltonian exactly on its energy surface, move tokens along spheres.

        z ← R_l z;   dq/dt = m⁻¹p, dp/dt = −∇V_l(q);   z ← SphereMLP_l(z);   E_l = ½ Σ m⁻¹p² + V_l(q) constant

    In depth every block has its own energy: along its flow E_l is constant to rounding, before and after it |z| is; no single
    energy spans several blocks. In time the last block is one autonomous flow, whose energy is constant for ever, and its
    spheres belong to the reading of the tokens.

    Args:
        dim: token width h, even.
        depth: blocks.
        steps: Verlet steps of each block.
        energy: c -> V on c = h/2 channels.
        ratio: hidden width of the MLP on the spheres over h.
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
