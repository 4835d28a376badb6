"""Steps for quadratic energies and skew operators: the Cayley transform and a scaled leapfrog."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Invariant, full_precision
from fields.dynamics.wave import WaveField
from fields.integrators.base import Integrator
from fields.nn.graph.incidence import Coboundary
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric


class Cayley(Integrator):
    r"""The Cayley transform of L: one Cholesky solve on the smaller of the two sides.

        (1 + h²/4 D Dᵀ) pₘ = p + h/2 D q,   qₘ = q − h/2 Dᵀ pₘ
        q₁ = q − h Dᵀ pₘ,   p₁ = p + h D qₘ

    x₁ − x = h L xₘ with xₘ the midpoint, so |x₁|² − |x|² = 2h xₘᵀ L xₘ = 0 for any h and any D.
    Written as increments, because 2xₘ − x loses three digits in single precision.

    Args:
        midpoint: evaluate D at x + h/2 L x instead of x: order 2 instead of 1, at twice the
            attention.

    Example:
        >>> import torch
        >>> from fields.flows import GraphHamiltonianField
        >>> field = GraphHamiltonianField(8)
        >>> x = field.lift(torch.randn(2, 5, 8))
        >>> y, _ = Cayley().step(field, 0.0, 3.0, x, Context(), ())
        >>> torch.allclose(field.energy(y), field.energy(x), rtol=1e-5)
        True
    """

    order = 1
    preserves = ((WaveField, Invariant.ENERGY),)

    def __init__(self, *, midpoint: bool = False):
        super().__init__()
        self.midpoint = midpoint
        self.order = 2 if midpoint else 1

    def step(
        self,
        field: WaveField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one Cayley transform of size ``dt``.   Shape: (b k s) -> (b k s)."""
        d, q, p = field.to_frame(z, context)
        if self.midpoint:
            ahead = field.from_frame(q - dt / 2 * d.down(p), p, context)
            d = field.operator(field.project(ahead), context)
        with full_precision(z):
            return field.from_frame(*cayley_rotation(d, dt, q, p), context), carry


class EnergyScaledLeapfrog(Integrator):
    r"""Leapfrog with D, then the whole state is scaled to the energy at the start. No solve.

        p ← p + h/2 D q;   q ← q − h Dᵀ p;   p ← p + h/2 D q;   x ← x √(E₀ / E(x))

    E is quadratic, so E(x₁) = E₀ to rounding. Stable for h < √2, because |D|² ≤ 2. Order 1, and 2
    where D does not change.

    Example:
        >>> import torch
        >>> from fields.flows import GraphHamiltonianField
        >>> field, method = GraphHamiltonianField(8), EnergyScaledLeapfrog()
        >>> x = field.lift(torch.randn(2, 5, 8))
        >>> y, _ = method.step(field, 0.0, 0.5, x, Context(), method.init(field, x, Context()))
        >>> torch.allclose(field.energy(y), field.energy(x), rtol=1e-5)
        True
    """

    order = 1
    preserves = ((WaveField, Invariant.ENERGY),)

    def init(self, field: WaveField, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """The energy E₀ at the start."""
        return field.energy(z, context)

    def step(
        self,
        field: WaveField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Float[Tensor, "b"],
    ) -> tuple[Tensor, Float[Tensor, "b"]]:
        """The state after one scaled leapfrog step of size ``dt``.   Shape: (b k s) -> (b k s)."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            p = p + dt / 2 * d.up(q)
            q = q - dt * d.down(p)
            z = field.from_frame(q, p + dt / 2 * d.up(q), context)
            return z * (carry / field.energy(z, context)).sqrt()[:, None, None], carry


def cayley_rotation(
    d: Coboundary,
    dt: float | Tensor,
    q: Float[Tensor, "b heads n e"],
    p: Float[Tensor, "b heads m e"],
) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
    """(1 − dt/2 L)⁻¹ (1 + dt/2 L) (q, p), by one solve of the smaller of the sizes n and m."""
    m, n = d.matrix.shape[-2:]
    if m <= n:
        pm = solve_symmetric(
            identity(m, q) + dt**2 / 4 * gram_matrix(d.matrix), p + dt / 2 * d.up(q)
        )
        dq = dt * d.down(pm)
        return q - dq, p + dt * d.up(q - 0.5 * dq)
    qm = solve_symmetric(
        identity(n, q) + dt**2 / 4 * gram_matrix(d.matrix.mT), q - dt / 2 * d.down(p)
    )
    dp = dt * d.up(qm)
    return q - dt * d.down(p + 0.5 * dp), p + dp
