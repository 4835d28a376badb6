"""Attention as diffusion."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics import SymmetricGrand
from fields.dynamics.grand import Diffusion
from fields.integrators import ExplicitDiffusion, Integrator
from fields.nn.rotation import Reaction
from fields.processors.block import Block
from fields.processors.stack import Stack


class Grand(Stack):
    r"""Blocks of: a step of graph diffusion, then a reaction of each token alone.

        z ← z − hκ (diag(r) − W(z)) z;   z ← z + MLP(LN z) + b ∘ z₀

    The law belongs to the diffusion: it keeps every channel within the range in which it starts, and with the symmetric
    field its mean too. The reaction, without which many blocks would average everything away, keeps none; switch it off
    (``react=False``) and the law holds for the whole stack.

    Args:
        dim: token width h.
        depth: blocks.
        field: h -> the diffusion.
        integrator: explicit, implicit or uniformisation.
        react: whether tokens react.
        ratio: hidden width of the reaction over h.
        h: step size at the start; learned between 0 and 1.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.

    Reference: Chamberlain et al., ICML 2021.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        field: Callable[[int], Diffusion] = SymmetricGrand,
        integrator: Callable[[], Integrator] = ExplicitDiffusion,
        react: bool = True,
        ratio: float = 3.5,
        h: float = 0.5,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            Block(field=field(dim), integrator=integrator(), h=h, react=Reaction(dim, ratio=ratio) if react else None)
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
