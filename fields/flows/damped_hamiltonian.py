r"""Damped Hamiltonian flow: particles in a learned energy that also move down its gradient.

    dx/dt = J ∇E − γ JᵀJ ∇E,   x = (q, p),   JᵀJ = 1
    E = ½ Σ m⁻¹ p² + V(q),   dE/dt = −γ |∇E|² ≤ 0

The law: E never increases, at every step, whatever h, γ and V. In depth each block has an energy of
its own; in time the energy of the last block never increases.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import (
    Context,
    Energy,
    EnergyField,
    Invariant,
    full_precision,
)
from fields.dynamics.energies.attention import AttentionEnergy
from fields.flows.hamiltonian import HamiltonianField
from fields.integrators.base import Integrator
from fields.integrators.verlet import EnergyProjectedVerlet, Orbit
from fields.nn.damping import Damping
from fields.processors.block import flow_blocks
from fields.processors.stack import Stack


class DampedHamiltonianField(EnergyField):
    r"""The double bracket of a learned energy: Hamiltonian flow plus gradient descent.

        dx/dt = J ∇E − γ JᵀJ ∇E,   JᵀJ = 1,   dE/dt = −γ |∇E|² ≤ 0

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained; a fixed γ = 0 is the Hamiltonian flow, bit for bit.

    Shape: x (b k h) -> dx/dt (b k h).
    Reference: Gruber, Lee & Trask, NeurIPS 2023, the double bracket.

    Example:
        >>> DampedHamiltonianField(16)(0.0, torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    law = Invariant.DECAY

    def __init__(
        self,
        dim: int,
        *,
        energy: Callable[[int], Energy] = AttentionEnergy,
        gamma: float = 0.1,
        learned: bool = True,
    ):
        super().__init__()
        self.conservative = HamiltonianField(dim, energy=energy)
        self.damping = Damping(gamma, learned=learned)
        self.permutation_equivariant = self.conservative.permutation_equivariant
        self.uses_positions = self.conservative.uses_positions

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = T + V of each sample."""
        return self.conservative.energy(state, context)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """J ∇E − γ ∇E.   Shape: (b k h)."""
        q, p = z.chunk(2, dim=-1)
        grad_q = self.conservative.potential(q, context)[1]
        grad_p = self.conservative.inverse_mass() * p
        gamma = self.damping()
        return torch.cat([grad_p - gamma * grad_q, -grad_q - gamma * grad_p], dim=-1)


class EnergyGuardedStep(Integrator):
    r"""A step that preserves E, then a descent step that is accepted only where E decreases.

        x ← EnergyProjectedVerlet(x);   q̃ = q − hγ ∇V(q) where V(q̃) ≤ V(q);   p ← p max(0, 1 − hγ/m)

    Proof of the law: the first step leaves E unchanged; the descent in q is taken only for samples
    with V(q̃) ≤ V(q), and the factor of p lies in [0, 1], so T decreases. Hence E₁ ≤ E whatever h, γ
    and V. Order 1. The gradient at q̃ is used again in the next step.

    Example:
        >>> field, method = DampedHamiltonianField(16), EnergyGuardedStep()
        >>> z = torch.randn(2, 5, 16)
        >>> x, _ = method.step(field, 0.0, 0.5, z, Context(), method.init(field, z, Context()))
        >>> bool((field.energy(x) < field.energy(z)).all())
        True
    """

    order = 1
    preserves = ((DampedHamiltonianField, Invariant.DECAY),)

    def __init__(self):
        super().__init__()
        self.project = EnergyProjectedVerlet()

    def init(self, field: DampedHamiltonianField, z: Tensor, context: Context) -> Orbit:
        """∇V and E at the start."""
        return self.project.init(field.conservative, z, context)

    def step(
        self,
        field: DampedHamiltonianField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Orbit,
    ) -> tuple[Tensor, Orbit]:
        """The state after one guarded step of size ``dt``.   Shape: (b k h) -> (b k h)."""
        z, carry = self.project.step(field.conservative, t, dt, z, context, carry)
        with full_precision(z):
            q, p = z.chunk(2, dim=-1)
            value = carry.energy - field.conservative.kinetic(p)
            c = dt * field.damping()
            lower, grad = field.conservative.potential(q - c * carry.grad, context)
            accept = (lower <= value) & grad.isfinite().flatten(1).all(1)
            value = torch.where(accept, lower, value)
            accept = accept[:, None, None]
            q = torch.where(accept, q - c * carry.grad, q)
            grad = torch.where(accept, grad, carry.grad)
            p = p * (1 - c * field.conservative.inverse_mass()).clamp(min=0)
            energy = value + field.conservative.kinetic(p)
            return torch.cat([q, p], dim=-1), Orbit(grad, energy, carry.rejected_steps)

    def rejected_steps(self, carry: Orbit, z: Tensor) -> Float[Tensor, "b"]:
        """Reflections in the step that preserves E."""
        return carry.rejected_steps


class DampedHamiltonian(Stack):
    r"""Tokens as particles of a learned energy with damping.

        dx/dt = J ∇E_l − γ_l ∇E_l,   E_l = ½ Σ m⁻¹p² + V_l(q),   dE_l/dt ≤ 0

    In depth every block l has an energy of its own, which never increases within the block; in time
    the energy of the last block never increases.

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained.
        depth: number of blocks.
        steps: steps of each block.
        h: initial step size; learned between 0 and ``h_max``.
        h_max: upper bound of the step size.
        rotate: rotate the channels before each block after the first.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> DampedHamiltonian(16).law.value
        'the energy never increases'
    """

    def __init__(
        self,
        dim: int,
        *,
        energy: Callable[[int], Energy] = AttentionEnergy,
        gamma: float = 0.1,
        learned: bool = True,
        depth: int = 1,
        steps: int = 4,
        h: float = 0.25,
        h_max: float = 1.0,
        rotate: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> DampedHamiltonianField:
            return DampedHamiltonianField(dim, energy=energy, gamma=gamma, learned=learned)

        blocks = flow_blocks(
            dim,
            field,
            EnergyGuardedStep,
            depth=depth,
            steps=steps,
            h=h,
            h_max=h_max,
            rotate=rotate,
        )
        super().__init__(blocks, dt=dt, recompute=recompute)
