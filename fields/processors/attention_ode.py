"""A transformer block as the velocity of a neural ODE: attention with continuous depth."""

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

    One Euler step of size 1 is the block. With weights shared over L steps of size T/L it is an
    ODE, whose solution the steps approach with the order of the method. Preserves no invariant.

    Args:
        dim: token width h.
        heads: attention heads.
        ratio: inner width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.

    Reference: Lu et al. 2019 (arXiv:1906.02762); Geshkovski et al. 2023 (arXiv:2312.10794).
    Shape: z (b k h) -> dz/dt (b k h). The context must hold positions.

    Example:
        >>> import torch
        >>> z, pos = torch.randn(2, 5, 8), torch.rand(1, 5, 2)
        >>> context = Context(pos, torch.tensor([True, False]))
        >>> AttentionField(8)(0.0, z, context).shape
        torch.Size([2, 5, 8])
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
        """B(z) − z, where the conditioning is added to the input of B.   Shape: (b k h)."""
        z = context.shift(z)
        return self.block(z, x_q=context.pos, periodic=context.periodic) - z


class AttentionODE(Stack):
    r"""Tokens follow dz/dt = B(z) − z, B a transformer block with weights shared over the steps.

    With ``depth=1`` one ODE, whose solution is approached with the order of the method as steps
    grow; with ``steps=1``, Euler and h = 1 the transformer. Preserves no invariant.

    Args:
        dim: token width h.
        depth: number of fields in sequence.
        steps: steps of each field.
        integrator: Euler, Heun, RK4 or DormandPrince.
        heads: attention heads.
        ratio: hidden width of the MLP over h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        time: initial length of each flow; learned between 0 and twice that.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> import torch
        >>> from fields.core.sample import Latent
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> AttentionODE(8, depth=1, steps=4)(latent).z.shape
        torch.Size([2, 5, 8])
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
