"""A transformer whose tokens keep or lose energy, never gain it."""

from __future__ import annotations

from fields import dynamics
from fields.integrators import GreatCircle
from fields.processors.block import Block
from fields.processors.stack import Stack


class TangentBracket(Stack):
    r"""Transformer blocks that turn tokens and a reservoir as one vector, at a cost in energy.

        x = (z, r),   dx/dt = L x − γ LᵀL x,   L x = the part of (B(z) − z, 0) tangent to the sphere
        E = ½|z|² + ½r²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time, and no code outgrows √(1 + ρ²) times its size at the
    start. The parameters are those of a transformer of equal depth and two numbers per block. B sees the tokens
    alone: what is encoded says where the flow goes.

    Args:
        dim, depth, heads, ratio, lengths: as in :class:`fields.processors.Transformer`.
        gamma: damping, the initial value if learned.
        learned: whether γ is trained.
        reservoir: ρ, size of the reservoir over that of the tokens at the start.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        gamma: float = 0.01,
        learned: bool = True,
        reservoir: float = 3.0,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> dynamics.TangentBracket:
            return dynamics.TangentBracket(
                dim, heads=heads, ratio=ratio, lengths=lengths, gamma=gamma, learned=learned, reservoir=reservoir
            )

        blocks = [Block(field=field(), integrator=GreatCircle(), h=1.0, h_max=2.0) for _ in range(depth)]
        super().__init__(blocks, dt=dt, recompute=recompute)
