"""Fields that slide down an energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.dynamics.energies.local import LocalEnergy
from fields.integrators.base import Integrator
from fields.nn.linear_solve import solve_symmetric
from fields.nn.stencils import Spread


class GradientFlowField(EnergyField):
    r"""Tokens slide down a learned density of energy: of the double bracket the dissipative half alone, with JᵀJ = 1.

        dz/dt = −m JᵀJ ∇V(z) = −m ∇V(z),    E = V,    dE/dt = −Σ m |∇V|² ≤ 0

    Between `FourierSampling` codes V is a functional of the normalized field, learned as the one that
    the field slides down (Ginzburg–Landau's for Allen–Cahn). Channels that are given stay.

    Args:
        dim: channels c.
        energy: c -> V.
        mobility: m of every channel at the start; learned.

    Raises:
        ValueError: a mobility that is not positive.

    Shape: z (b k c) -> dz/dt (b k c).
    """

    law = Invariant.DECAY

    def __init__(self, dim: int, *, energy: Callable[[int], LocalEnergy], mobility: float = 1.0):
        super().__init__()
        if mobility <= 0:
            raise ValueError(
                f"GradientFlowField got mobility = {mobility}: nothing would move, or uphill. Give a number above 0."
            )
        self.v = energy(dim)
        self.spread = Spread(self.v.tokens, self.v.moving, self.v.radius)
        self.log_mobility = nn.Parameter(torch.full((dim,), math.log(mobility)))

    def mobility(self) -> Float[Tensor, "c"]:
        """m > 0 of each channel."""
        return self.log_mobility.exp()

    def curvature(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b km km"], Float[Tensor, "b km km"]]:
        """H⁺ and H⁻, both positive semidefinite, with ∂²V/∂z² = H⁺ − H⁻ in the channels that move."""
        up, down = self.v.curvature(z, context)
        return self.spread(up), self.spread(down)

    def energy(
        self, state: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = V."""
        return self.v(state, context)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b k c"]:
        """−m ∇V."""
        return -self.mobility() * self.v.grad(z, context)


SHARE = 0.9  # of the way to singular that the concave part of the curvature may take the matrix


class BoundedRosenbrock(Integrator):
    r"""One Rosenbrock step with γ = ½, as long as a bound on the energy allows: one Cholesky solve.

        (1/(hm) + ½ (H⁺ − θ H⁻)) Δ = −∇V(z),    z₁ = z + s Δ,    s = min(1, −∇V·Δ / C),    θ = min(1, 1.8 / (h m |H⁻|∞))

    with ∂²V = H⁺ − H⁻, both positive semidefinite, and C with V(z + sΔ) ≤ V(z) + s ∇V·Δ + s² C for
    0 ≤ s ≤ 1. θ keeps the matrix positive definite, so that Δ leads down, and the choice of s makes
    the right-hand side at most V(z): E₁ ≤ E for every h and all weights. For small h both are 1 and
    the order is 2. Steps with s < 1 are counted.

    Reference: Hairer & Wanner, Solving Ordinary Differential Equations II, IV.7, for the method
    without s and θ.
    """

    order = 2
    preserves = ((GradientFlowField, Invariant.DECAY),)

    def init(self, field: GradientFlowField, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """No step was cut so far."""
        return z.new_zeros(len(z))

    def step(self, field: GradientFlowField, t, dt, z: Tensor, context: Context, carry: Tensor):
        """One step."""
        with full_precision(z):
            v, hm = field.v, dt * field.mobility()[: field.v.moving]
            grad = v.grad(z, context)[..., : v.moving]
            up, down = field.curvature(z, context)
            theta = (2 * SHARE / (hm.amax() * down.abs().sum(-1).amax(-1)).clamp(min=2 * SHARE))[
                :, None, None
            ]
            matrix = torch.diag((1 / hm).repeat(z.shape[1])) + 0.5 * (up - theta * down)
            move = F.pad(
                -solve_symmetric(matrix, grad.flatten(1)[..., None]).view_as(grad),
                (0, z.shape[-1] - v.moving),
            )
            fall = -(grad * move[..., : v.moving]).sum((1, 2))
            bound = v.bend(z, move, context)
            s = fall / (torch.maximum(fall, bound) + torch.finfo(z.dtype).tiny)
            return z + s[:, None, None] * move, carry + (bound > fall)

    def rejected_steps(self, carry: Tensor, z: Tensor) -> Float[Tensor, "b"]:
        """Steps that were cut."""
        return carry
