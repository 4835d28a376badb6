"""Explicit Runge–Kutta methods. They keep no law: for fields that have none."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator


class Euler(Integrator):
    """z₁ = z + h f(t, z). Order 1. With h = 1 and f = attention + MLP it is a residual block."""

    order = 1

    def step(self, field: VectorField, t, dt, z: Tensor, context: Context, carry: Any):
        """One step."""
        return z + dt * field(t, z, context), carry


class Heun(Integrator):
    """z₁ = z + h/2 (k₁ + k₂),   k₁ = f(t, z),   k₂ = f(t + h, z + h k₁). Order 2."""

    order = 2

    def step(self, field: VectorField, t, dt, z: Tensor, context: Context, carry: Any):
        """One step."""
        k1 = field(t, z, context)
        k2 = field(t + dt, z + dt * k1, context)
        return z + dt / 2 * (k1 + k2), carry


class RK4(Integrator):
    """The classical Runge–Kutta method, order 4."""

    order = 4

    def step(self, field: VectorField, t, dt, z: Tensor, context: Context, carry: Any):
        """One step."""
        k1 = field(t, z, context)
        k2 = field(t + dt / 2, z + dt / 2 * k1, context)
        k3 = field(t + dt / 2, z + dt / 2 * k2, context)
        k4 = field(t + dt, z + dt * k3, context)
        return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), carry
