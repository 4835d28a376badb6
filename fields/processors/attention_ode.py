"""Attention with continuous depth."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics import AttentionField
from fields.integrators import Heun, Integrator
from fields.processors.block import Block
from fields.processors.stack import Stack


class AttentionODE(Stack):
    r"""Tokens follow dz/dt = B(z) − z with B a transformer block, weights shared over the steps of each flow.

    ``depth=1`` is one ODE, approached with the order of the method as steps grow; with ``steps=1``, Euler and h = 1 it is the
    transformer. No law.

    Args:
        dim: token width h.
        depth: fields in sequence.
        steps: steps of each.
        integrator: Euler, Heun, RK4 or DormandPrince.
        heads: attention heads.
        ratio: hidden width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        time: length of each flow at the start, learned between 0 and twice that.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        steps: int = 1,
        integrator: Callable[[], Integrator] = Heun,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        time: float = 1.0,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            Block(
                field=AttentionField(dim, heads=heads, ratio=ratio, lengths=lengths),
                integrator=integrator(),
                steps=steps,
                h=time / steps,
                h_max=2 * time / steps,
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
