"""The discrete-gradient method, iterated to convergence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fields.dynamics.base import Context, Invariant, SeparableHamiltonian, full_precision
from fields.integrators.base import Integrator


class DiscreteGradient(Integrator):
    r"""The midpoint discrete gradient by fixed-point iteration, which preserves any energy.

        z₁ = z + h J ḡ,   ḡ = ∇E(zₘ) + (E(z₁) − E(z) − ∇E(zₘ)·Δz) / |Δz|² Δz,   Δz = z₁ − z

    ḡ·Δz = E(z₁) − E(z) and J is skew, so E(z₁) = E(z), at the fixed point and only there. Order 2.
    A reference for cheaper methods: each iteration costs two energies.

    Args:
        iterations: fixed-point iterations. With too few the energy drifts: by 10⁻³ with 2.

    Reference: Gonzalez, J. Nonlinear Sci. 6 (1996), eq. 5.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> field, z = HamiltonianField(8).double(), torch.randn(2, 3, 8).double()
        >>> x, _ = DiscreteGradient().step(field, 0.0, 0.1, z, Context(), ())
        >>> torch.allclose(field.energy(x), field.energy(z), rtol=1e-12)
        True
    """

    order = 2
    preserves = ((SeparableHamiltonian, Invariant.ENERGY),)

    def __init__(self, *, iterations: int = 50):
        super().__init__()
        self.iterations = iterations

    def step(
        self,
        field: SeparableHamiltonian,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The fixed point after ``iterations`` iterations.   Shape: (b k h) -> (b k h)."""
        with full_precision(z):
            start = field.energy(z, context)
            new = z + dt * field(t, z, context)
            for _ in range(self.iterations):
                middle = (z + new) / 2
                delta = new - z
                q, p = middle.chunk(2, dim=-1)
                grad = torch.cat([field.potential(q, context)[1], field.inverse_mass() * p], dim=-1)
                missing = field.energy(new, context) - start - (grad * delta).sum((-2, -1))
                size = delta.square().sum((-2, -1)) + torch.finfo(z.dtype).tiny
                grad_q, grad_p = (grad + (missing / size)[:, None, None] * delta).chunk(2, dim=-1)
                new = z + dt * torch.cat([grad_p, -grad_q], dim=-1)
            return new, carry
