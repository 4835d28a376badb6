"""Störmer–Verlet, alone and with the energy put back exactly."""

from __future__ import annotations

from torch import Tensor

from fields.dynamics.base import (
    Context,
    Invariant,
    SeparableHamiltonian,
    VectorField,
    full_precision,
)
from fields.integrators.base import Integrator


class ImplicitMidpoint(Integrator):
    """z₁ = z + h f((z + z₁)/2), by fixed-point iteration. Order 2, symplectic.

    Keeps quadratic energies only: for a learned one the drift is bounded, not zero. Reference use.

    Args:
        iterations: fixed-point iterations; converges for h times the field's Lipschitz constant
            below 2.
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.SYMPLECTIC),)

    def __init__(self, *, iterations: int = 30):
        super().__init__()
        self.iterations = iterations

    def step(self, field: VectorField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        with full_precision(z):
            new = z
            for _ in range(self.iterations):
                new = z + dt * field(t + dt / 2, (z + new) / 2, context)
            return new, carry
