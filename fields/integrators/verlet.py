"""Störmer–Verlet, and Verlet with the energy restored at every step."""

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

# The kinetic energy may be scaled within these bounds; beyond them the step is rejected.
SCALE = (1e-2, 1e2)


class Verlet(Integrator):
    """p ← p − h/2 ∇V(q);   q ← q + h m⁻¹ p;   p ← p − h/2 ∇V(q).

    Order 2, symplectic and time-reversible: the energy error is bounded by O(h²) but not zero. One
    gradient per step, because the last force of a step is the first of the next.

    Reference: Hairer, Lubich & Wanner, Acta Numerica 12 (2003).

    Example:
        >>> from fields.flows import HamiltonianField
        >>> field, z, method = HamiltonianField(8), torch.randn(2, 3, 8), Verlet()
        >>> x, force = method.step(field, 0.0, 0.1, z, Context(), method.init(field, z, Context()))
        >>> x.shape, force.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 3, 4]))
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.SYMPLECTIC),)

    def init(
        self, field: SeparableHamiltonian, z: Tensor, context: Context
    ) -> Float[Tensor, "b k c"]:
        """∇V at the start."""
        with full_precision(z):
            return field.potential(z.chunk(2, dim=-1)[0], context)[1]

    def step(
        self,
        field: SeparableHamiltonian,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Float[Tensor, "b k c"],
    ) -> tuple[Tensor, Float[Tensor, "b k c"]]:
        """The state after one leapfrog step of size ``dt``, and ∇V there.   Shape: (b k h)."""
        with full_precision(z):
            q, p, _, grad = leapfrog(field, dt, z, context, carry)
            return torch.cat([q, p], dim=-1), grad


class Orbit(NamedTuple):
    """The carry of a trajectory of constant energy.

    Args:
        grad: ∇V at the current positions.
        energy: E at the start.
        rejected_steps: rejected steps so far.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> method = EnergyProjectedVerlet()
        >>> orbit = method.init(HamiltonianField(8), torch.randn(2, 5, 8), Context())
        >>> orbit.grad.shape, orbit.rejected_steps
        (torch.Size([2, 5, 4]), tensor([0., 0.]))
    """

    grad: Float[Tensor, "b k c"]
    energy: Float[Tensor, "b"]
    rejected_steps: Float[Tensor, "b"]


class EnergyProjectedVerlet(Integrator):
    r"""A Verlet step, then momenta are scaled so that the energy is that of the start.

        p₁ = s p̃,   s² = (E₀ − V(q₁)) / T(p̃)

    T is quadratic, so T(p₁) + V(q₁) = E₀ to rounding, at one gradient per step. The local energy
    error of Verlet is O(h³), hence s = 1 + O(h³) and the order remains 2; symplecticity is lost.
    Where V(q₁) exceeds E₀ or is not finite no s exists: the sample is then reflected (q₁ = q,
    p₁ = −p), which preserves the energy too, and the step is counted as rejected.

    Reference: Hairer, Lubich & Wanner, Geometric Numerical Integration, 2nd ed. (2006), IV.4, for
    projection methods.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> field, z = HamiltonianField(8).double(), torch.randn(2, 3, 8).double()
        >>> times = torch.tensor([0.0, 1.0])
        >>> x = EnergyProjectedVerlet().solve(field, z, times=times, steps=10)[-1]
        >>> torch.allclose(field.energy(x), field.energy(z), rtol=1e-12)
        True
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.ENERGY),)

    def init(self, field: SeparableHamiltonian, z: Tensor, context: Context) -> Orbit:
        """∇V and E at the start."""
        with full_precision(z):
            q, p = z.chunk(2, dim=-1)
            value, grad = field.potential(q, context)
            return Orbit(grad, field.kinetic(p) + value, torch.zeros_like(value))

    def step(
        self,
        field: SeparableHamiltonian,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Orbit,
    ) -> tuple[Tensor, Orbit]:
        """The state after one projected Verlet step of size ``dt``.   Shape: (b k h)."""
        with full_precision(z):
            q, p, value, grad = leapfrog(field, dt, z, context, carry.grad)
            kinetic = field.kinetic(p)
            scale = (carry.energy - value) / (kinetic + torch.finfo(z.dtype).tiny)
            finite = grad.isfinite().flatten(1).all(1)
            bounce = ~((scale >= SCALE[0]) & (scale <= SCALE[1]) & finite)  # also where nan
            p = p * scale.clamp(*SCALE).sqrt()[:, None, None]
            q_old, p_old = z.chunk(2, dim=-1)
            back = bounce[:, None, None]
            z = torch.cat([torch.where(back, q_old, q), torch.where(back, -p_old, p)], dim=-1)
            grad = torch.where(back, carry.grad, grad)
            return z, Orbit(grad, carry.energy, carry.rejected_steps + bounce)

    def rejected_steps(self, carry: Orbit, z: Tensor) -> Float[Tensor, "b"]:
        """Reflections: steps after which V(q₁) left too little energy for the momenta."""
        return carry.rejected_steps


def leapfrog(
    field: SeparableHamiltonian, dt: float | Tensor, z: Tensor, context: Context, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half kick, drift, half kick -> q, p, V(q), ∇V(q)."""
    q, p = z.chunk(2, dim=-1)
    half = torch.as_tensor(dt / 2, dtype=z.dtype, device=z.device)
    p = torch.addcmul(p, grad, half, value=-1)
    q = torch.addcmul(q, p, dt * field.inverse_mass())
    value, grad = field.potential(q, context)
    return q, torch.addcmul(p, grad, half, value=-1), value, grad
