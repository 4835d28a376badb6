"""Explicit Runge–Kutta methods, for fields without a law: they preserve no invariant."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator


class Euler(Integrator):
    """z₁ = z + h f(t, z). Order 1. With h = 1 and f = attention + MLP it is a residual block.

    Example:
        >>> import torch
        >>> class Decay(VectorField):
        ...     def forward(self, t, z, context=Context()):
        ...         return -z
        >>> x, _ = Euler().step(Decay(), 0.0, 0.5, torch.ones(1, 1, 1), Context(), ())
        >>> round(x.item(), 4)
        0.5
    """

    order = 1

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one Euler step of size ``dt``.   Shape: (b k s) -> (b k s)."""
        return z + dt * field(t, z, context), carry


class Heun(Integrator):
    """z₁ = z + h/2 (k₁ + k₂),   k₁ = f(t, z),   k₂ = f(t + h, z + h k₁). Order 2.

    Example:
        >>> import torch
        >>> class Decay(VectorField):
        ...     def forward(self, t, z, context=Context()):
        ...         return -z
        >>> x, _ = Heun().step(Decay(), 0.0, 0.5, torch.ones(1, 1, 1), Context(), ())
        >>> round(x.item(), 4)
        0.625
    """

    order = 2

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one Heun step of size ``dt``.   Shape: (b k s) -> (b k s)."""
        k1 = field(t, z, context)
        k2 = field(t + dt, z + dt * k1, context)
        return z + dt / 2 * (k1 + k2), carry


class RK4(Integrator):
    """The classical Runge–Kutta method, z₁ = z + h/6 (k₁ + 2k₂ + 2k₃ + k₄). Order 4.

    Example:
        >>> import torch
        >>> class Decay(VectorField):
        ...     def forward(self, t, z, context=Context()):
        ...         return -z
        >>> x, _ = RK4().step(Decay(), 0.0, 0.5, torch.ones(1, 1, 1), Context(), ())
        >>> round(x.item(), 4)
        0.6068
    """

    order = 4

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one RK4 step of size ``dt``.   Shape: (b k s) -> (b k s)."""
        k1 = field(t, z, context)
        k2 = field(t + dt / 2, z + dt / 2 * k1, context)
        k3 = field(t + dt / 2, z + dt / 2 * k2, context)
        k4 = field(t + dt, z + dt * k3, context)
        return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), carry
