"""Exact steps for fields that waves move and friction wears down."""

from __future__ import annotations

from torch import Tensor

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.stencil_bracket import StencilBracket
from fields.integrators.base import Integrator
from fields.integrators.skew import eye, gram, solve


class ImplicitBracket(Integrator):
    r"""The Cayley transform of S, then backward Euler of M, both frozen over the step: two Cholesky solves.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hS/2,   z* = z + 2B zₘ;    (1 + hM) z₁ = z*

    |z*| = |z|, and |z₁|² = |z*|² − 2h z₁ᵀM z₁ − |z₁ − z*|², hence E₁ ≤ E for every h, S and M. What friction should wipe out
    within a step is wiped out, however stiff it is.
    """

    order = 1
    keeps = ((StencilBracket, Law.DECAY),)

    def step(self, field: StencilBracket, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        with full_precision(z):
            s, m = field.operators(z, context)
            x, b, one = z.flatten(1)[..., None], dt / 2 * s, eye(s.shape[-1], z)
            turned = x + 2 * (b @ solve(one + gram(b.mT), x + b @ x))
            return solve(one + dt * m, turned).view_as(z), carry
