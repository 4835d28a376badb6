"""Fields that slide down an energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Law, LawfulField
from fields.dynamics.density import DensityEnergy
from fields.nn.stencils import Spread


class GradientFlow(LawfulField):
    r"""Tokens slide down a learned density of energy: of the double bracket the dissipative half alone, with JᵀJ = 1.

        dz/dt = −m JᵀJ ∇V(z) = −m ∇V(z),    E = V,    dE/dt = −Σ m |∇V|² ≤ 0

    Between `Trigonometric` codes V is a functional of the normalised field, learned as the one that the field slides down
    (Ginzburg–Landau's for Allen–Cahn). Channels that are given stay.

    Args:
        dim: channels c.
        energy: c -> V.
        mobility: m of every channel at the start; learned.

    Raises:
        ValueError: a mobility that is not positive.

    Shape: z (b k c) -> dz/dt (b k c).
    """

    law = Law.DECAY

    def __init__(self, dim: int, *, energy: Callable[[int], DensityEnergy], mobility: float = 1.0):
        super().__init__()
        if mobility <= 0:
            raise ValueError(f"GradientFlow got mobility = {mobility}: nothing would move, or uphill. Give a number above 0.")
        self.v = energy(dim)
        self.spread = Spread(self.v.tokens, self.v.moving, self.v.reach)
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

    def energy(self, state: Float[Tensor, "b k c"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E = V."""
        return self.v(state, context)

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k c"], context: Context = Context()) -> Float[Tensor, "b k c"]:
        """−m ∇V."""
        return -self.mobility() * self.v.grad(z, context)
