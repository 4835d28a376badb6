"""Attention with continuous depth."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator
from fields.integrators.explicit import Heun
from fields.nn.attention.multihead import Attention
from fields.nn.blocks import TransformerBlock
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class AttentionField(VectorField):
    r"""A transformer block B, read as a velocity.

        dz/dt = B(z) − z = Attn(LN z) + MLP(LN z'),   z' = z + Attn(LN z)

    One Euler step of size 1 is the block; with weights shared over L steps of size T/L it is an
    ODE, whose solution the steps approach with the order of the method. It keeps no law.

    Args:
        dim: token width h.
        heads: attention heads.
        ratio: inner width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.

    Reference: Lu et al. 2019 (arXiv:1906.02762); Geshkovski et al. 2023 (arXiv:2312.10794).
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        max_frequency: float = 8.0,
    ):
        super().__init__()
        attention = Attention(
            dim, heads=heads, lengths=lengths, max_frequency=max_frequency, rotate_values=True
        )
        self.block = TransformerBlock(dim, attention, ratio=ratio)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """B(z) − z; the conditioning shifts what the block sees."""
        z = context.shift(z)
        return self.block(z, x_q=context.pos, periodic=context.periodic) - z


class AttentionODE(Stack):
    r"""Tokens follow dz/dt = B(z) − z with B a transformer block, weights shared over the steps of each flow.

    ``depth=1`` is one ODE, approached with the order of the method as steps grow; with ``steps=1``,
    Euler and h = 1 it is the transformer. No law.

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
            FlowBlock(
                field=AttentionField(dim, heads=heads, ratio=ratio, lengths=lengths),
                integrator=integrator(),
                steps=steps,
                h=time / steps,
                h_max=2 * time / steps,
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
