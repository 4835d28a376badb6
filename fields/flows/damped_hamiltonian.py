"""Tokens as particles: positions and momenta under a learned energy."""

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


class DampedHamiltonianField(EnergyField):
    r"""The double bracket of a learned energy: a Hamiltonian flow that also slides downhill.

        dx/dt = J ∇E − γ JᵀJ ∇E,   JᵀJ = 1,   dE/dt = −γ |∇E|² ≤ 0

    Args:
        dim: token width h, even.
        energy: c -> V on c = h/2 channels.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained; a fixed γ = 0 is the Hamiltonian flow, bit by bit.
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

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = T + V."""
        return self.conservative.energy(state, context)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """J ∇E − γ ∇E."""
        q, p = z.chunk(2, dim=-1)
        grad_q, grad_p = (
            self.conservative.potential(q, context)[1],
            self.conservative.inverse_mass() * p,
        )
        gamma = self.damping()
        return torch.cat([grad_p - gamma * grad_q, -grad_q - gamma * grad_p], dim=-1)


class EnergyGuardedStep(Integrator):
    r"""Kinetic projection, then a step down the energy that is taken only where it does go down.

        q̃ = q − hγ ∇V(q), accepted for the samples with V(q̃) ≤ V(q);   p ← p max(0, 1 − hγ/m)

    The energy never increases, whatever h, γ and V; the gradient at q̃ serves the next step.
    """

    order = 1
    preserves = ((DampedHamiltonianField, Invariant.DECAY),)

    def __init__(self):
        super().__init__()
        self.project = EnergyProjectedVerlet()

    def init(self, field: DampedHamiltonianField, z: Tensor, context: Context) -> Orbit:
        """Force and energy at the start."""
        return self.project.init(field.conservative, z, context)

    def step(self, field: DampedHamiltonianField, t, dt, z: Tensor, context: Context, carry: Orbit):
        """One step."""
        z, carry = self.project.step(field.conservative, t, dt, z, context, carry)
        with full_precision(z):
            q, p = z.chunk(2, dim=-1)
            value = carry.energy - field.conservative.kinetic(p)
            c = dt * field.damping()
            lower, grad = field.conservative.potential(q - c * carry.grad, context)
            accept = (lower <= value)[:, None, None]
            q = torch.where(accept, q - c * carry.grad, q)
            grad = torch.where(accept, grad, carry.grad)
            p = p * (1 - c * field.conservative.inverse_mass()).clamp(min=0)
            energy = torch.minimum(lower, value) + field.conservative.kinetic(p)
            return torch.cat([q, p], dim=-1), Orbit(grad, energy, carry.rejected_steps)

    def rejected_steps(self, carry: Orbit, z: Tensor) -> Tensor:
        """Bounces of the conservative part."""
        return carry.rejected_steps
