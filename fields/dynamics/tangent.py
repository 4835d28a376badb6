"""Everything that a transformer can do on the sphere of constant energy, and what that motion costs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.attention_ode import AttentionField
from fields.dynamics.base import Context, Law, LawfulField
from fields.dynamics.hamiltonian import Damping


class TangentBracket(LawfulField):
    r"""A transformer block B turns all tokens as one vector, and turning costs energy.

        dx/dt = L x − γ LᵀL x,   L = (f xᵀ − x fᵀ)/|x|² = −Lᵀ,   f = B(x) − x,   E = ½|x|²,   dE/dt = −γ|L x|²

    L x = f − x (x·f)/|x|² is the part of f tangent to the sphere |x| = const, and LᵀL x = x |L x|²/|x|². Every flow that keeps
    |x| is of this form, hence the block is as free as that of a transformer but for one number per sample. The state is the
    tokens alone: what is encoded is all that the flow knows. Because motion costs energy, γ∫|L x|² dt ≤ E(0): no rollout can
    move for ever at full speed, and none returns to where it was.

    Args:
        dim: token width h.
        heads, ratio, lengths: of the block, see :class:`fields.dynamics.AttentionField`.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained; a fixed γ = 0 keeps E constant.

    Reference: the double bracket of Gruber, Lee & Trask, NeurIPS 2023, with an operator of rank two.
    Shape: z (b k h) -> dz/dt (b k h).
    """

    law = Law.DECAY
    learned_energy = False

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        gamma: float = 0.01,
        learned: bool = True,
    ):
        super().__init__()
        self.free = AttentionField(dim, heads=heads, ratio=ratio, lengths=lengths)
        self.damping = Damping(gamma, learned=learned)

    def tangent(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b k h"], Float[Tensor, "b 1 1"]]:
        """L x and |x|², which is 1 where there is nothing to turn."""
        f = self.free(t, z, context).to(z.dtype)
        size2 = z.square().sum((1, 2), keepdim=True)
        sphere = size2 > torch.finfo(z.dtype).eps ** 4  # tokens of no size have no direction: they stay
        size2 = torch.where(sphere, size2, 1.0)
        tangent = torch.addcmul(f, z, (z * f).sum((1, 2), keepdim=True) / -size2)
        return torch.where(sphere, tangent, 0.0), size2

    def energy(self, state: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E = ½|x|²."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """L x − γ LᵀL x."""
        moved, size2 = self.tangent(t, z, context)
        return moved - self.damping() * moved.square().sum((1, 2), keepdim=True) / size2 * z
