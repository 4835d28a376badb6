"""Steps for learned energies beyond Verlet: a guarded descent and the converged discrete gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from fields.dynamics.base import Context, Law, SeparableHamiltonian, full_precision
from fields.dynamics.hamiltonian import DampedHamiltonian
from fields.integrators.base import Integrator
from fields.integrators.symplectic import KineticProjection, Orbit


class GuardedDescent(Integrator):
    r"""Kinetic projection, then a step down the energy that is taken only where it does go down.

        q̃ = q − hγ ∇V(q), accepted for the samples with V(q̃) ≤ V(q);   p ← p max(0, 1 − hγ/m)

    The energy never increases, whatever h, γ and V; the gradient at q̃ serves the next step.
    """

    order = 1
    keeps = ((DampedHamiltonian, Law.DECAY),)

    def __init__(self):
        super().__init__()
        self.project = KineticProjection()

    def init(self, field: DampedHamiltonian, z: Tensor, context: Context) -> Orbit:
        """Force and energy at the start."""
        return self.project.init(field.conservative, z, context)

    def step(self, field: DampedHamiltonian, t, dt, z: Tensor, context: Context, carry: Orbit):
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
            return torch.cat([q, p], dim=-1), Orbit(grad, energy, carry.clamps)

    def clamps(self, carry: Orbit, z: Tensor) -> Tensor:
        """Bounces of the conservative part."""
        return carry.clamps


class Gonzalez(Integrator):
    r"""The midpoint discrete gradient, iterated to convergence: the reference that conserves any energy.

        z₁ = z + h J ḡ,   ḡ = ∇E(zₘ) + (E(z₁) − E(z) − ∇E(zₘ)·Δz) / |Δz|² Δz

    ḡ·Δz = E(z₁) − E(z) and J is skew, so the energy is exact at the fixed point, and only there. Order 2.

    Args:
        iterations: fixed-point iterations. Too few break the law: 2 leave a drift of 10⁻³.

    Reference: Gonzalez, J. Nonlinear Sci. 6 (1996).
    """

    order = 2
    keeps = ((SeparableHamiltonian, Law.ENERGY),)

    def __init__(self, *, iterations: int = 50):
        super().__init__()
        self.iterations = iterations

    def step(self, field: SeparableHamiltonian, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        with full_precision(z):
            start, new = field.energy(z, context), z + dt * field(t, z, context)
            for _ in range(self.iterations):
                middle, delta = (z + new) / 2, new - z
                q, p = middle.chunk(2, dim=-1)
                grad = torch.cat([field.potential(q, context)[1], field.inverse_mass() * p], dim=-1)
                missing = field.energy(new, context) - start - (grad * delta).sum((-2, -1))
                size = delta.square().sum((-2, -1)) + torch.finfo(z.dtype).tiny
                grad_q, grad_p = (grad + (missing / size)[:, None, None] * delta).chunk(2, dim=-1)
                new = z + dt * torch.cat([grad_p, -grad_q], dim=-1)
            return new, carry
