r"""Hamiltonian flow: tokens as particles, with positions and momenta under a learned energy.

    dq/dt = m⁻¹ p,   dp/dt = −∇V(q),   E = ½ Σ m⁻¹ p² + V(q),   dE/dt = 0

The law: E is constant. The step is :class:`fields.integrators.EnergyProjectedVerlet`, which serves
every separable Hamiltonian: a Verlet step, then p₁ = s p̃ with s² = (E₀ − V(q₁)) / T(p̃), so that
T(p₁) + V(q₁) = E₀ because T is quadratic. In depth each block has an energy of its own, and the
maps between blocks preserve |z|; in time the energy of the last block is constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy, SeparableHamiltonian
from fields.dynamics.energies.attention import AttentionEnergy
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class HamiltonianField(SeparableHamiltonian):
    r"""Half of the channels are positions q, half momenta p, and a learned energy moves them.

        dq/dt = m⁻¹ p,   dp/dt = −∇V(q),   E = ½ Σ m⁻¹ p² + V(q),   dE/dt = 0

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        inverse_mass: initial m⁻¹ of every channel; learned.

    Raises:
        ValueError: an odd width, or a mass that is not positive.

    Shape: z (b k h) -> dz/dt (b k h).
    Reference: Greydanus, Dzamba & Yosinski, NeurIPS 2019, with an energy between tokens instead of
    coordinates.

    Example:
        >>> HamiltonianField(16)(0.0, torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        dim: int,
        *,
        energy: Callable[[int], Energy] = AttentionEnergy,
        inverse_mass: float = 1.0,
    ):
        super().__init__()
        if dim % 2:
            raise ValueError(
                f"HamiltonianField splits channels into positions and momenta; {dim} is odd. "
                f"Use {dim + 1}."
            )
        if inverse_mass <= 0:
            raise ValueError(
                f"HamiltonianField got inverse_mass = {inverse_mass}; masses are positive. "
                "Give a number above 0."
            )
        self.v = energy(dim // 2)
        self.log_inverse_mass = nn.Parameter(torch.full((dim // 2,), math.log(inverse_mass)))
        self.permutation_equivariant = self.v.permutation_invariant
        self.uses_positions = self.v.uses_positions

    def potential(
        self, q: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """The potential V(q) and its gradient ∇V(q).   Shape: (b k c) -> (b), (b k c)."""
        return self.v.value_and_grad(q, context)

    def inverse_mass(self) -> Float[Tensor, "c"]:
        """m⁻¹ > 0 of each channel."""
        return self.log_inverse_mass.exp()

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """(m⁻¹ p, −∇V).   Shape: (b k h)."""
        q, p = z.chunk(2, dim=-1)
        return torch.cat([self.inverse_mass() * p, -self.potential(q, context)[1]], dim=-1)


class Hamiltonian(Stack):
    r"""Blocks of: rotate all channels, follow a learned Hamiltonian, move tokens along spheres.

        z ← R_l z;   dq/dt = m⁻¹p, dp/dt = −∇V_l(q);   z ← SphereMLP_l(z)
        E_l = ½ Σ m⁻¹p² + V_l(q) constant

    In depth every block has its own energy: E_l is constant along its flow, to rounding, and |z| is
    constant before and after it; no single energy spans several blocks. In time the last block is
    one autonomous flow with a constant energy, and its SphereMLP is applied only to the tokens that
    are returned.

    Args:
        dim: token width h, even.
        depth: number of blocks.
        steps: Verlet steps of each block.
        energy: c -> V on c = h/2 channels.
        ratio: hidden width of the MLP on the spheres over h.
        h: initial step size; learned between 0 and 1.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> Hamiltonian(16).law.value
        'the energy is constant'
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
            FlowBlock(
                field=HamiltonianField(dim, energy=energy),
                integrator=EnergyProjectedVerlet(),
                steps=steps,
                h=h,
                rotate=Rotation(dim),
                react=SphereMLP(dim, ratio=ratio),
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
