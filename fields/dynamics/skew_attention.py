"""Tokens carried round each other: attention as a skew matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Law, LawfulField
from fields.nn.blocks import MLP
from fields.nn.incidence import SoftIncidence


class SkewAttention(LawfulField):
    r"""Tokens turn into each other, all channels alike.

        dz/dt = A(z) z,   A = Σₕ aₕ (Dₕ − Dₕᵀ),   E = ½|z|²,   dE/dt = zᵀA z = 0

    D (k × k) are soft incidences of features MLP(LN z) and positions, so A may depend on the tokens in any way. Because A
    acts on tokens alone, the flow keeps the whole Gram matrix zᵀz of the channels, hence ½|z Wᵀ|² for every matrix W: under a
    decoder that is linear and orthonormal (`fields.decoders.Galerkin`) this is the L2 energy of the decoded field.

    Args:
        dim: token width h.
        heads: number of soft incidences.
        ratio: hidden width of the MLP over h.

    Shape: z (b k h) -> dz/dt (b k h).
    """

    law = Law.ENERGY
    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 4, ratio: float = 2.0):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim), MLP(dim, ratio=ratio)
        self.incidence = SoftIncidence(dim, heads=heads)
        self.amplitude = nn.Parameter(torch.full((heads,), heads**-0.5))

    def matrix(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k k"]:
        """A, skew to the last bit."""
        features = self.incidence.norm(context.shift(z + self.mlp(self.norm(z))))
        d = self.incidence(features, context.pos, context.periodic, context.distance2).matrix.to(z.dtype)
        mixed = (self.amplitude[:, None, None] * d).sum(1)
        return mixed - mixed.mT

    def energy(self, state: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b"]:
        """½|z|²."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """A z."""
        return self.matrix(z, context) @ z
