"""The implicit midpoint rule by fixed-point iteration."""

from __future__ import annotations

from typing import Any

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

    Preserves quadratic invariants only: the drift of a learned energy is bounded, not zero. A
    reference for cheaper methods.

    Args:
        iterations: fixed-point iterations; they converge where h times the Lipschitz constant of
            the field is below 2.

    Reference: Hairer, Lubich & Wanner, Geometric Numerical Integration, 2nd ed. (2006), VI.4.

    Example:
        >>> import torch
        >>> from fields.flows import HamiltonianField
        >>> field, z = HamiltonianField(8), torch.randn(2, 3, 8)
        >>> ImplicitMidpoint().step(field, 0.0, 0.1, z, Context(), ())[0].shape
        torch.Size([2, 3, 8])
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.SYMPLECTIC),)

    def __init__(self, *, iterations: int = 30):
        super().__init__()
        self.iterations = iterations

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The fixed point after ``iterations`` iterations.   Shape: (b k h) -> (b k h)."""
        with full_precision(z):
            new = z
            for _ in range(self.iterations):
                new = z + dt * field(t + dt / 2, (z + new) / 2, context)
            return new, carry
