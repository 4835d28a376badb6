"""A step of retrieval."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fields.dynamics.base import Context, Law, full_precision
from fields.dynamics.memory import Recall
from fields.integrators.base import Integrator


class RetrievalStep(Integrator):
    r"""z₁ = z − min(h, 2) ∇E(z). Order 1; h = 1 is one retrieval, that is attention on the patterns.

    E = ½|z|² − c(z) with c convex. Its tangent bounds c from below, so E(z₁) ≤ E(z) − h (1 − h/2) |∇E|²: E never rises.

    Reference: Yuille & Rangarajan 2003 (the concave–convex procedure).
    """

    order = 1
    keeps = ((Recall, Law.DECAY),)

    def step(self, field: Recall, t: float | Tensor, dt: float | Tensor, z: Tensor, context: Context, carry: Any):
        """One step."""
        with full_precision(z):
            return z + torch.clamp(torch.as_tensor(dt), max=2) * field(t, z, context), carry
