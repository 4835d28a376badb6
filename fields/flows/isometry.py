"""Tokens carried round each other: attention as a skew matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.blocks import MLP
from fields.nn.graph.incidence import SoftIncidence
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric
from fields.processors.block import WAVE_H_MAX, FlowBlock
from fields.processors.stack import Stack


class SkewAttentionField(EnergyField):
    r"""Tokens turn into each other, all channels alike.

        dz/dt = A(z) z,   A = Σₕ aₕ (Dₕ − Dₕᵀ),   E = ½|z|²,   dE/dt = zᵀA z = 0

    D (k × k) are soft incidences of features MLP(LN z) and positions, so A may depend on the tokens
    in any way. Because A acts on tokens alone, the flow keeps the whole Gram matrix zᵀz of the
    channels, hence ½|z Wᵀ|² for every matrix W: under a decoder that is linear and orthonormal
    (`fields.decoders.Galerkin`) this is the L2 energy of the decoded field.

    Args:
        dim: token width h.
        heads: number of soft incidences.
        ratio: hidden width of the MLP over h.

    Shape: z (b k h) -> dz/dt (b k h).
    """

    law = Invariant.ENERGY
    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 4, ratio: float = 2.0):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim), MLP(dim, ratio=ratio)
        self.incidence = SoftIncidence(dim, heads=heads)
        self.amplitude = nn.Parameter(torch.full((heads,), heads**-0.5))

    def matrix(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k k"]:
        """A, skew to the last bit."""
        features = self.incidence.norm(context.shift(z + self.mlp(self.norm(z))))
        d = self.incidence(features, context.pos, context.periodic, context.distance2).matrix.to(
            z.dtype
        )
        mixed = (self.amplitude[:, None, None] * d).sum(1)
        return mixed - mixed.mT

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """½|z|²."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """A z."""
        return self.matrix(z, context) @ z


class SkewCayley(Integrator):
    r"""The Cayley transform of a skew matrix between tokens, one Cholesky solve.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hA/2,   z₁ = z + h A zₘ

    (1 − B)(1 + B) = 1 + BᵀB because B is skew, so zₘ = (1 − B)⁻¹ z is the midpoint and zᵀz is kept
    for any h and any A.
    """

    order = 1
    preserves = ((SkewAttentionField, Invariant.ENERGY),)

    def step(self, field: SkewAttentionField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        a = field.matrix(z, context)
        with full_precision(z):
            b = dt / 2 * a
            return z + dt * (
                a @ solve_symmetric(identity(z.shape[1], z) + gram_matrix(b.mT), z + b @ z)
            ), carry


class Isometry(Stack):
    r"""Blocks of one exact step of skew attention: the physical energy of the field is kept, not only that of the tokens.

        z ← (1 − hA/2)⁻¹ (1 + hA/2) z,   A = A(z) = −Aᵀ between tokens,   zᵀz constant

    With `fields.decoders.Galerkin`, f(y) = Σᵢ ψᵢ(y) W zᵢ with ∫ψᵢψⱼ = δᵢⱼ,

        ½ ∫ |f|² = ½ |z Wᵀ|²   is constant, in depth and in time, for every W.

    This is why channels are never mixed, rotated or moved along spheres as in the other graph
    processors, and why nothing
    lives on edges: |z| would stay, but energy would pass between what the decoder shows and what it
    does not. What steers the tokens is free. In normalized units, about the field's mean. With any
    other decoder |z| is only a regularizer.

    Args:
        dim: token width h.
        depth: blocks.
        heads: soft incidences per block.
        ratio: hidden width over h of the MLP that steers.
        h: step size at the start; learned between 0 and 4.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        heads: int = 4,
        ratio: float = 2.0,
        h: float = 1.0,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            FlowBlock(
                field=SkewAttentionField(dim, heads=heads, ratio=ratio),
                integrator=SkewCayley(),
                h=h,
                h_max=WAVE_H_MAX,
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
