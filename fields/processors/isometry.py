"""Tokens whose decoded field has constant L2 energy."""

from __future__ import annotations

from fields.dynamics import SkewAttention
from fields.integrators import SkewCayley
from fields.processors.block import WAVE_H_MAX, Block
from fields.processors.stack import Stack


class Isometry(Stack):
    r"""Blocks of one exact step of skew attention: the physical energy of the field is kept, not only that of the tokens.

        z ← (1 − hA/2)⁻¹ (1 + hA/2) z,   A = A(z) = −Aᵀ between tokens,   zᵀz constant

    With `fields.decoders.Galerkin`, f(y) = Σᵢ ψᵢ(y) W zᵢ with ∫ψᵢψⱼ = δᵢⱼ,

        ½ ∫ |f|² = ½ |z Wᵀ|²   is constant, in depth and in time, for every W.

    This is why channels are never mixed, rotated or moved along spheres as in the other graph processors, and why nothing
    lives on edges: |z| would stay, but energy would pass between what the decoder shows and what it does not. What steers
    the tokens is free. In normalised units, about the field's mean. With any other decoder |z| is only a regulariser.

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
            Block(field=SkewAttention(dim, heads=heads, ratio=ratio), integrator=SkewCayley(), h=h, h_max=WAVE_H_MAX)
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
