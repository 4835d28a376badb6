"""Störmer–Verlet, alone and with the energy put back exactly."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import (
    Context,
    Invariant,
    SeparableHamiltonian,
    full_precision,
)
from fields.integrators.base import Integrator

SCALE = (
    1e-2,
    1e2,
)  # kinetic energy may be rescaled by this much; beyond, the step is refused and the event counted


class Verlet(Integrator):
    """p ← p − h/2 ∇V(q);   q ← q + h m⁻¹ p;   p ← p − h/2 ∇V(q).

    Order 2, symplectic and time-reversible: the energy error is bounded by O(h²) but not zero. One
    gradient per step, since the last force of a step is the first of the next.
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.SYMPLECTIC),)

    def init(self, field: SeparableHamiltonian, z: Tensor, context: Context) -> Tensor:
        """The force at the start."""
        with full_precision(z):
            return field.potential(z.chunk(2, dim=-1)[0], context)[1]

    def step(self, field: SeparableHamiltonian, t, dt, z: Tensor, context: Context, carry: Tensor):
        """One step."""
        with full_precision(z):
            q, p, _, grad = leapfrog(field, dt, z, context, carry)
            return torch.cat([q, p], dim=-1), grad


class Orbit(NamedTuple):
    """What an orbit of constant energy remembers."""

    grad: Float[Tensor, "b k c"]  # ∇V at the current positions
    energy: Float[Tensor, "b"]  # at the start
    rejected_steps: Float[Tensor, "b"]  # bounces so far


class EnergyProjectedVerlet(Integrator):
    r"""Verlet, then momenta rescaled so that the energy is the one at the start.

        p₁ = s p̃,   s² = (E₀ − V(q₁)) / T(p̃)

    T is quadratic, so T(p₁) + V(q₁) = E₀ to rounding, at one gradient per step. Verlet's local
    energy error is O(h³), hence s = 1 + O(h³) and the order stays 2. Symplecticity is lost. Where
    V(q₁) exceeds E₀ no s exists: the sample then bounces (q₁ = q, p₁ = −p), which also keeps the
    energy, and the event is counted.
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.ENERGY),)

    def init(self, field: SeparableHamiltonian, z: Tensor, context: Context) -> Orbit:
        """Force and energy at the start."""
        with full_precision(z):
            q, p = z.chunk(2, dim=-1)
            value, grad = field.potential(q, context)
            return Orbit(grad, field.kinetic(p) + value, torch.zeros_like(value))

    def step(self, field: SeparableHamiltonian, t, dt, z: Tensor, context: Context, carry: Orbit):
        """One step."""
        with full_precision(z):
            q, p, value, grad = leapfrog(field, dt, z, context, carry.grad)
            kinetic = field.kinetic(p)
            scale = (carry.energy - value) / (kinetic + torch.finfo(z.dtype).tiny)
            bounce = (scale < SCALE[0]) | (scale > SCALE[1])
            p = p * scale.clamp(*SCALE).sqrt()[:, None, None]
            q_old, p_old = z.chunk(2, dim=-1)
            back = bounce[:, None, None]
            z = torch.cat([torch.where(back, q_old, q), torch.where(back, -p_old, p)], dim=-1)
            return z, Orbit(
                torch.where(back, carry.grad, grad), carry.energy, carry.rejected_steps + bounce
            )

    def rejected_steps(self, carry: Orbit, z: Tensor) -> Float[Tensor, "b"]:
        """Bounces: steps at which V(q₁) left too little energy for the momenta."""
        return carry.rejected_steps


def leapfrog(field: SeparableHamiltonian, dt, z: Tensor, context: Context, grad: Tensor):
    """Half kick, drift, half kick -> q, p, V(q), ∇V(q)."""
    q, p = z.chunk(2, dim=-1)
    half = torch.as_tensor(dt / 2, dtype=z.dtype, device=z.device)
    p = torch.addcmul(p, grad, half, value=-1)
    q = torch.addcmul(q, p, dt * field.inverse_mass())
    value, grad = field.potential(q, context)
    return q, torch.addcmul(p, grad, half, value=-1), value, grad
