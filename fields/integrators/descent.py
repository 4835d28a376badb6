"""A step down a learned density of energy that cannot go up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.gradient_flow import GradientFlow
from fields.integrators.base import Integrator
from fields.integrators.skew import solve

SHARE = 0.9  # of the way to singular that the concave part of the curvature may take the matrix


class BoundedRosenbrock(Integrator):
    r"""One Rosenbrock step with γ = ½, as long as a bound on the energy allows: one Cholesky solve.

        (1/(hm) + ½ (H⁺ − θ H⁻)) Δ = −∇V(z),    z₁ = z + s Δ,    s = min(1, −∇V·Δ / C),    θ = min(1, 1.8 / (h m |H⁻|∞))

    with ∂²V = H⁺ − H⁻, both positive semidefinite, and C with V(z + sΔ) ≤ V(z) + s ∇V·Δ + s² C for 0 ≤ s ≤ 1. θ keeps the matrix
    positive definite, so that Δ leads down, and the choice of s makes the right-hand side at most V(z): E₁ ≤ E for every h and all
    weights. For small h both are 1 and the order is 2. Steps with s < 1 are counted.

    Reference: Hairer & Wanner, Solving Ordinary Differential Equations II, IV.7, for the method without s and θ.
    """

    order = 2
    keeps = ((GradientFlow, Law.DECAY),)

    def init(self, field: GradientFlow, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """No step was cut so far."""
        return z.new_zeros(len(z))

    def step(self, field: GradientFlow, t, dt, z: Tensor, context: Context, carry: Tensor):
        """One step."""
        with full_precision(z):
            v, hm = field.v, dt * field.mobility()[: field.v.moving]
            grad = v.grad(z, context)[..., : v.moving]
            up, down = field.curvature(z, context)
            theta = (2 * SHARE / (hm.amax() * down.abs().sum(-1).amax(-1)).clamp(min=2 * SHARE))[:, None, None]
            matrix = torch.diag((1 / hm).repeat(z.shape[1])) + 0.5 * (up - theta * down)
            move = F.pad(-solve(matrix, grad.flatten(1)[..., None]).view_as(grad), (0, z.shape[-1] - v.moving))
            fall = -(grad * move[..., : v.moving]).sum((1, 2))
            bound = v.bend(z, move, context)
            s = fall / (torch.maximum(fall, bound) + torch.finfo(z.dtype).tiny)
            return z + s[:, None, None] * move, carry + (bound > fall)

    def clamps(self, carry: Tensor, z: Tensor) -> Float[Tensor, "b"]:
        """Steps that were cut."""
        return carry
