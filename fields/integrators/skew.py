"""Exact steps for the quadratic energy: rotations by a skew operator, with and without friction."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.graph import DoubleBracket, GraphHamiltonian, Metriplectic
from fields.dynamics.metric import MetricHamiltonian
from fields.dynamics.skew import WaveField
from fields.dynamics.skew_attention import SkewAttention
from fields.integrators.base import Integrator
from fields.nn.incidence import Coboundary


class Cayley(Integrator):
    r"""The Cayley transform of L, one Cholesky solve on the smaller of the two sides.

        (1 + h²/4 D Dᵀ) pₘ = p + h/2 D q,   qₘ = q − h/2 Dᵀ pₘ,   q₁ = q − h Dᵀ pₘ,   p₁ = p + h D qₘ

    x₁ − x = h L xₘ with xₘ the midpoint, so |x₁|² − |x|² = 2h xₘᵀ L xₘ = 0 for any h and any D. Written as increments,
    because 2xₘ − x loses three digits in single precision.

    Args:
        midpoint: D at x + h/2 L x instead of x: order 2 instead of 1 at twice the attention.
    """

    order = 1
    keeps = ((GraphHamiltonian, Law.ENERGY), (MetricHamiltonian, Law.ENERGY))

    def __init__(self, *, midpoint: bool = False):
        super().__init__()
        self.midpoint = midpoint
        self.order = 2 if midpoint else 1

    def step(self, field: WaveField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.open(z, context)
        if self.midpoint:
            ahead = field.close(q - dt / 2 * d.down(p), p, context)
            d = field.operator(field.read(ahead), context)
        with full_precision(z):
            return field.close(*rotate(d, dt, q, p), context), carry


class RadialLeapfrog(Integrator):
    r"""Solve-free: leapfrog with D, then the whole state rescaled to the energy at the start.

        p ← p + h/2 D q;   q ← q − h Dᵀ p;   p ← p + h/2 D q;   x ← x √(E₀ / E(x))

    Stable for h < √2, since |D|² ≤ 2. Order 2 for a frozen D.
    """

    order = 1
    keeps = ((GraphHamiltonian, Law.ENERGY), (MetricHamiltonian, Law.ENERGY))

    def init(self, field: WaveField, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """Energy at the start."""
        return field.energy(z, context)

    def step(self, field: WaveField, t, dt, z: Tensor, context: Context, carry: Tensor):
        """One step."""
        d, q, p = field.open(z, context)
        with full_precision(z):
            p = p + dt / 2 * d.up(q)
            q = q - dt * d.down(p)
            z = field.close(q, p + dt / 2 * d.up(q), context)
            return z * (carry / field.energy(z, context)).sqrt()[:, None, None], carry


class SkewCayley(Integrator):
    r"""The Cayley transform of a skew matrix between tokens, one Cholesky solve.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hA/2,   z₁ = z + h A zₘ

    (1 − B)(1 + B) = 1 + BᵀB because B is skew, so zₘ = (1 − B)⁻¹ z is the midpoint and zᵀz is kept for any h and any A.
    """

    order = 1
    keeps = ((SkewAttention, Law.ENERGY),)

    def step(self, field: SkewAttention, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        a = field.matrix(z, context)
        with full_precision(z):
            b = dt / 2 * a
            return z + dt * (a @ solve(eye(z.shape[1], z) + gram(b.mT), z + b @ z)), carry


class SplitBracket(Integrator):
    r"""Cayley, then one explicit step down:   x ← x − c LᵀL x,   c = min(hγ, 1).

    E₁ − E = −c |L x|² + c²/2 |LᵀL x|² ≤ 0 for c ≤ 1, because |L|² ≤ 2. One solve.
    """

    order = 1
    keeps = ((DoubleBracket, Law.DECAY),)

    def step(self, field: DoubleBracket, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.open(z, context)
        with full_precision(z):
            q, p = rotate(d, dt, q, p)
            c = (dt * field.damping()).clamp(max=1)
            return field.close(q - c * d.down(d.up(q)), p - c * d.up(d.down(p)), context), carry


class CoupledBracket(Integrator):
    r"""Implicit midpoint of both brackets with D frozen over the step.

        [(1 + cG)² + h²/4 G] pₘ = (1 + cG) p + h/2 D q,   G = D Dᵀ,   c = hγ/2
        qₘ = (1 + c DᵀD)⁻¹ (q − h/2 Dᵀ pₘ),   x₁ = x + h (L − γ LᵀL) xₘ

    E₁ − E = −hγ |L xₘ|² exactly, for every h and γ. Two solves.
    """

    order = 1
    keeps = ((DoubleBracket, Law.DECAY),)

    def step(self, field: DoubleBracket, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.open(z, context)
        with full_precision(z):
            gamma = field.damping()
            c, g, one = dt * gamma / 2, gram(d.matrix), eye(d.matrix.shape[-2], z)
            inner = one + c * g
            pm = solve(inner @ inner + dt**2 / 4 * g, p + c * d.up(d.down(p)) + dt / 2 * d.up(q))
            qm = q - dt / 2 * d.down(pm)
            qm = qm - c * d.down(solve(inner, d.up(qm)))  # Woodbury for (1 + c DᵀD)⁻¹
            dq, dp = -d.down(pm), d.up(qm)
            q = q + dt * (dq - gamma * d.down(dp))
            return field.close(q, p + dt * (dp + gamma * d.up(dq)), context), carry


class MetriplecticStep(Integrator):
    r"""Cayley, then implicit-midpoint friction whose loss is heat, row by row.

        x₁ = x − h LᵀΓL xₘ,   sᵢ ← sᵢ + h Γᵢ |(L xₘ)ᵢ|²

    With R = Γ^½ on the edges, N = Γ^½ on the nodes and B = N Dᵀ, both solves are as large as the number of edges:

        (1 + h/2 R D Dᵀ R) w = R D q,   q₁ = q − h Dᵀ R w,   (1 + h/2 BᵀB) pₘ = p,   v = B pₘ,   p₁ = p − h Bᵀ v

    and the heat is h |v|² and h |w|². Σ Δsᵢ = h xₘᵀLᵀΓL xₘ = −ΔE, so the total is exact; every Δsᵢ ≥ 0, so no entropy falls.
    """

    order = 1
    keeps = ((Metriplectic, Law.METRIPLECTIC),)

    def step(self, field: Metriplectic, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.open(z, context)
        with full_precision(z):
            gamma, s = field.friction(z), z[..., field.dim :]
            q, p = rotate(d, dt, q, p)
            r, one = gamma.edges.sqrt(), eye(d.matrix.shape[-2], z)
            w = solve(one + dt / 2 * r * gram(d.matrix) * r.mT, r * d.up(q))
            b = gamma.nodes.sqrt() * d.matrix.mT
            v = b @ solve(one + dt / 2 * gram(b.mT), p)
            heat = torch.cat([x.square().sum((1, 3))[..., None] for x in (v, w)], dim=1)
            return torch.cat([field.close(q - dt * d.down(r * w), p - dt * (b.mT @ v), context), s + dt * heat], dim=-1), carry


def rotate(
    d: Coboundary, dt, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"]
) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
    """(q, p) one Cayley step on; the solve is on the smaller of the two sides."""
    m, n = d.matrix.shape[-2:]
    if m <= n:
        pm = solve(eye(m, q) + dt**2 / 4 * gram(d.matrix), p + dt / 2 * d.up(q))
        dq = dt * d.down(pm)
        return q - dq, p + dt * d.up(q - 0.5 * dq)
    qm = solve(eye(n, q) + dt**2 / 4 * gram(d.matrix.mT), q - dt / 2 * d.down(p))
    dp = dt * d.up(qm)
    return q - dt * d.down(p + 0.5 * dp), p + dp


def solve(matrix: Float[Tensor, "b heads k k"], x: Float[Tensor, "b heads k e"]) -> Float[Tensor, "b heads k e"]:
    """matrix⁻¹ x, head by head, for a symmetric positive definite matrix. Unchecked, hence no wait for the device."""
    return SymmetricSolve.apply(matrix, x)  # type: ignore[no-any-return]


class SymmetricSolve(torch.autograd.Function):
    """x = A⁻¹ b by Cholesky;   db = A⁻¹ dx,   dA = −db xᵀ: the factor is used again, not differentiated."""

    @staticmethod
    def forward(ctx, a: Float[Tensor, "*b k k"], b: Float[Tensor, "*b k e"]) -> Float[Tensor, "*b k e"]:
        """x."""
        factor = torch.linalg.cholesky_ex(a).L
        x = torch.cholesky_solve(b, factor)
        ctx.save_for_backward(factor, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, d_x: Tensor) -> tuple[Tensor, Tensor]:
        """dA, for whatever symmetric function of parameters A is, and db."""
        factor, x = ctx.saved_tensors
        d_b = torch.cholesky_solve(d_x, factor)
        return -(d_b @ x.mT), d_b


def gram(matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
    """B Bᵀ."""
    return Gram.apply(matrix)  # type: ignore[no-any-return]


class Gram(torch.autograd.Function):
    """B Bᵀ;   dB = (dG + dGᵀ) B: one product, where autograd makes two."""

    @staticmethod
    def forward(ctx, matrix: Float[Tensor, "b heads m n"]) -> Float[Tensor, "b heads m m"]:
        """B Bᵀ."""
        ctx.save_for_backward(matrix)
        return matrix @ matrix.mT

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        """dB."""
        (matrix,) = ctx.saved_tensors
        return (grad + grad.mT) @ matrix


def eye(size: int, like: Tensor) -> Tensor:
    """The identity, in the dtype and on the device of ``like``."""
    return torch.eye(size, dtype=like.dtype, device=like.device)
