"""Exact steps for the quadratic energy: rotations by a skew operator, with and without friction."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Invariant, full_precision
from fields.dynamics.wave import WaveField
from fields.integrators.base import Integrator
from fields.nn.graph.incidence import Coboundary
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric


class Cayley(Integrator):
    r"""The Cayley transform of L, one Cholesky solve on the smaller of the two sides.

        (1 + h²/4 D Dᵀ) pₘ = p + h/2 D q,   qₘ = q − h/2 Dᵀ pₘ,   q₁ = q − h Dᵀ pₘ,   p₁ = p + h D qₘ

    x₁ − x = h L xₘ with xₘ the midpoint, so |x₁|² − |x|² = 2h xₘᵀ L xₘ = 0 for any h and any D.
    Written as increments, because 2xₘ − x loses three digits in single precision.

    Args:
        midpoint: D at x + h/2 L x instead of x: order 2 instead of 1 at twice the attention.
    """

    order = 1
    preserves = ((WaveField, Invariant.ENERGY),)

    def __init__(self, *, midpoint: bool = False):
        super().__init__()
        self.midpoint = midpoint
        self.order = 2 if midpoint else 1

    def step(self, field: WaveField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.to_frame(z, context)
        if self.midpoint:
            ahead = field.from_frame(q - dt / 2 * d.down(p), p, context)
            d = field.operator(field.project(ahead), context)
        with full_precision(z):
            return field.from_frame(*cayley_rotation(d, dt, q, p), context), carry


class EnergyScaledLeapfrog(Integrator):
    r"""Solve-free: leapfrog with D, then the whole state rescaled to the energy at the start.

        p ← p + h/2 D q;   q ← q − h Dᵀ p;   p ← p + h/2 D q;   x ← x √(E₀ / E(x))

    Stable for h < √2, since |D|² ≤ 2. Order 2 for a frozen D.
    """

    order = 1
    preserves = ((WaveField, Invariant.ENERGY),)

    def init(self, field: WaveField, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """Energy at the start."""
        return field.energy(z, context)

    def step(self, field: WaveField, t, dt, z: Tensor, context: Context, carry: Tensor):
        """One step."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            p = p + dt / 2 * d.up(q)
            q = q - dt * d.down(p)
            z = field.from_frame(q, p + dt / 2 * d.up(q), context)
            return z * (carry / field.energy(z, context)).sqrt()[:, None, None], carry


def cayley_rotation(
    d: Coboundary, dt, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"]
) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
    """(q, p) one Cayley step on; the solve is on the smaller of the two sides."""
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
