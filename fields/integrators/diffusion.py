"""Steps of graph diffusion that keep every value within the range it starts in."""

from __future__ import annotations

import torch
from torch import Tensor

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.grand import Diffusion, LinearDiffusion, SymmetricGrand
from fields.integrators.base import Integrator
from fields.integrators.skew import eye, solve
from fields.nn.incidence import merge_heads, split_heads


class ExplicitDiffusion(Integrator):
    """z₁ = z + min(h, 1) f(z): a convex combination, row by row. Order 1."""

    order = 1
    keeps = ((Diffusion, Law.MAXIMUM),)

    def step(self, field: Diffusion, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        return z + torch.clamp(torch.as_tensor(dt), max=1) * field(t, z, context), carry


class ImplicitDiffusion(Integrator):
    """(1 + hκ(diag r − W)) z₁ = z, by Cholesky: an M-matrix with unit row sums, so the range is kept for every h. Order 1."""

    order = 1
    keeps = ((SymmetricGrand, Law.MAXIMUM),)

    def step(self, field: LinearDiffusion, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        w = field.weights(z, context)
        with full_precision(z):
            laplacian = torch.diag_embed(w.sum(-1)) - w
            matrix = eye(z.shape[1], z) + dt * field.diffusivity() * laplacian
            return merge_heads(solve(matrix, split_heads(z, field.heads))), carry


class Uniformisation(Integrator):
    r"""The exponential of −hκL as a truncated Poisson mixture of powers, normalised: convex for every h and K.

        z₁ = Σ_{j≤K} (hκ)ʲ/j! Pʲ z / Σ_{j≤K} (hκ)ʲ/j!,   P = 1 − diag(r) + W

    Args:
        terms: K; the error of the exponential is at most twice the Poisson(hκ) tail beyond K.
    """

    order = 1
    keeps = ((LinearDiffusion, Law.MAXIMUM),)

    def __init__(self, *, terms: int = 6):
        super().__init__()
        self.terms = terms

    def step(self, field: LinearDiffusion, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        w = field.weights(z, context)
        with full_precision(z):
            x = split_heads(z, field.heads)
            stay, rate = 1 - w.sum(-1, keepdim=True), dt * field.diffusivity()
            weight, total, mixed = torch.ones_like(rate), torch.ones_like(rate), x
            for j in range(1, self.terms + 1):
                x = stay * x + w @ x
                weight = weight * rate / j
                mixed, total = mixed + weight * x, total + weight
            return merge_heads(mixed / total), carry
