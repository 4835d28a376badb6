"""Exact steps on the sphere of all tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.tangent import TangentBracket
from fields.integrators.base import Integrator


class GreatCircle(Integrator):
    r"""Along the great circle that starts in the direction of L x, then towards the centre.

        x₁ = exp(−γθ²/h) (x cos θ + |x| sin θ L x/|L x|),   θ = h |L x|/|x|

    |x₁| = exp(−γθ²/h) |x|, hence E₁ ≤ E for every h, and E₁ = E without damping. Solve-free.
    """

    order = 1
    keeps = ((TangentBracket, Law.DECAY),)

    def step(self, field: TangentBracket, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        tangent, size2 = field.tangent(t, z, context)
        with full_precision(z):
            speed2 = tangent.square().sum((1, 2), keepdim=True) / size2
            angle = dt * (speed2 + torch.finfo(z.dtype).eps ** 2).sqrt()
            turned = torch.addcmul(z * angle.cos(), tangent, dt * torch.sinc(angle / math.pi))
            kept = z.square().sum((1, 2), keepdim=True) / (turned.square().sum((1, 2), keepdim=True) + torch.finfo(z.dtype).tiny)
            return turned * kept.sqrt() * torch.exp(-dt * field.damping() * speed2), carry
