r"""Isometry: attention as a skew matrix between tokens, so that the physical energy is preserved.

    dz/dt = A(z) z,   A = −Aᵀ,   E = ½|z|²,   dE/dt = zᵀA z = 0

The law: the whole Gram matrix zᵀz of the channels is constant, at every step, for all step sizes
and weights, through the whole processor, in depth and in time. With the decoder `Galerkin`, whose
basis is orthonormal, ½∫|f|² = ½|z Wᵀ|² of the decoded field f is constant too.
"""

from __future__ import annotations

from typing import Any

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
    r"""Tokens rotate into each other, with one matrix for all channels.

        dz/dt = A(z) z,   A = Σₕ aₕ (Dₕ − Dₕᵀ),   E = ½|z|²,   dE/dt = zᵀA z = 0

    D (k × k) are soft incidence matrices of features MLP(LN z) and positions, so A may depend on
    the tokens in any way. A acts on tokens only, so the flow preserves the Gram matrix zᵀz, hence
    ½|z Wᵀ|² for every matrix W: under a linear orthonormal decoder (`fields.decoders.Galerkin`) the
    L² energy of the decoded field.

    Args:
        dim: token width h.
        heads: number of soft incidence matrices.
        ratio: hidden width of the MLP over h.

    Shape: z (b k h) -> dz/dt (b k h).

    Example:
        >>> SkewAttentionField(8)(0.0, torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    law = Invariant.ENERGY
    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 4, ratio: float = 2.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ratio=ratio)
        self.incidence = SoftIncidence(dim, heads=heads)
        self.amplitude = nn.Parameter(torch.full((heads,), heads**-0.5))

    def matrix(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k k"]:
        """A, exactly skew in floating point."""
        features = self.incidence.norm(context.shift(z + self.mlp(self.norm(z))))
        d = self.incidence(features, context.pos, context.periodic, context.distance2)
        mixed = (self.amplitude[:, None, None] * d.matrix.to(z.dtype)).sum(1)
        return mixed - mixed.mT

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """½|z|² of each sample."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """A z.   Shape: (b k h)."""
        return self.matrix(z, context) @ z


class SkewCayley(Integrator):
    r"""The Cayley transform of a skew matrix between tokens. One Cholesky solve, order 1.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hA/2,   z₁ = z + h A zₘ

    Proof of the law: (1 − B)(1 + B) = 1 + BᵀB because B is skew, so zₘ = (1 − B)⁻¹ z is the
    midpoint, z₁ = (1 − B)⁻¹ (1 + B) z with an orthogonal matrix, and z₁ᵀz₁ = zᵀz for any h and A.

    Example:
        >>> z = torch.randn(2, 5, 8).double()
        >>> field = SkewAttentionField(8).double()
        >>> x, _ = SkewCayley().step(field, 0.0, 3.0, z, Context(), ())
        >>> torch.allclose(x.mT @ x, z.mT @ z)
        True
    """

    order = 1
    preserves = ((SkewAttentionField, Invariant.ENERGY),)

    def step(
        self,
        field: SkewAttentionField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one Cayley transform of size ``dt``.   Shape: (b k h) -> (b k h)."""
        a = field.matrix(z, context)
        with full_precision(z):
            b = dt / 2 * a
            middle = solve_symmetric(identity(z.shape[1], z) + gram_matrix(b.mT), z + b @ z)
            return z + dt * (a @ middle), carry


class Isometry(Stack):
    r"""Blocks of one exact step of skew attention, which preserve the energy of the decoded field.

        z ← (1 − hA/2)⁻¹ (1 + hA/2) z,   A = A(z) = −Aᵀ between tokens,   zᵀz constant

    With `fields.decoders.Galerkin`, f(y) = Σᵢ ψᵢ(y) W zᵢ with ∫ψᵢψⱼ = δᵢⱼ,

        ½ ∫ |f|² = ½ |z Wᵀ|²   is constant, in depth and in time, for every W.

    For this reason channels are not mixed, rotated or moved along spheres as in the other graph
    processors, and there are no edge variables: |z| would remain constant, but energy would pass
    between what the decoder shows and what it does not. The features that determine A are free. The
    energy is in normalized units, about the field's mean. With any other decoder, a constant |z| is
    only a regularizer.

    Args:
        dim: token width h.
        depth: number of blocks.
        heads: soft incidence matrices per block.
        ratio: hidden width over h of the MLP of the features.
        h: initial step size; learned between 0 and 4.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> Isometry(8).law.value
        'the energy is constant'
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
