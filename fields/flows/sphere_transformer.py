"""Everything that a transformer can do on the sphere of constant energy, and what that motion costs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.damping import Damping
from fields.processors.attention_ode import AttentionField
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class SphereTransformerField(EnergyField):
    r"""A transformer block B turns tokens and a reservoir as one vector, and turning costs energy.

        x = (z, r),   dx/dt = L x − γ LᵀL x,   L = (f xᵀ − x fᵀ)/|x|² = −Lᵀ,   f = (B(z) − z, 0),   r(0) = ρ|z(0)|
        E = ½|z|² + ½r²,   dE/dt = −γ|L x|²

    L x = f − x (x·f)/|x|² is the part of f tangent to the sphere |x| = const, and LᵀL x = x |L
    x|²/|x|². Every flow that keeps
    |x| is of this form. What tokens gain in size the reservoir gives, so that they move almost as those of a transformer, yet
    |z(t)|² ≤ (1 + ρ²)|z(0)|² for ever; and because motion costs energy, γ∫|L x|² dt ≤ E(0): no rollout moves for ever at full
    speed. B does not see r, hence the tokens alone say where the flow goes, but for the share
    x·f/|x|² of their own direction.

    Args:
        dim: token width h.
        heads, ratio, lengths: of the block, see :class:`fields.processors.AttentionField`.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained; a fixed γ = 0 keeps E constant.
        reservoir: ρ; without one (0) the size of the tokens alone never rises.

    Reference: the double bracket of Gruber, Lee & Trask, NeurIPS 2023, with an operator of rank
    two.
    Shape: state (b k+1 h), the last token is r, spread over its channels.
    """

    law = Invariant.DECAY
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
        reservoir: float = 3.0,
    ):
        super().__init__()
        self.free = AttentionField(dim, heads=heads, ratio=ratio, lengths=lengths)
        self.damping = Damping(gamma, learned=learned)
        self.reservoir = reservoir

    def lift(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k+1 h"]:
        """The reservoir starts ρ times as large as the tokens."""
        size = z.square().sum((1, 2), keepdim=True).mul(self.reservoir**2 / z.shape[2]).sqrt()
        return torch.cat([z, size.detach().expand(-1, -1, z.shape[2])], dim=1)

    def project(self, state: Float[Tensor, "b k+1 h"]) -> Float[Tensor, "b k h"]:
        """The tokens."""
        return state[:, :-1]

    def tangent(
        self, t: float | Tensor, x: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b k+1 h"], Float[Tensor, "b 1 1"]]:
        """L x and |x|², which is 1 where there is nothing to turn."""
        f = F.pad(self.free(t, self.project(x), context).to(x.dtype), (0, 0, 0, 1))
        size2 = x.square().sum((1, 2), keepdim=True)
        sphere = (
            size2 > torch.finfo(x.dtype).eps ** 4
        )  # tokens of no size have no direction: they stay
        size2 = torch.where(sphere, size2, 1.0)
        tangent = torch.addcmul(f, x, (x * f).sum((1, 2), keepdim=True) / -size2)
        return torch.where(sphere, tangent, 0.0), size2

    def energy(
        self, state: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|z|² + ½r²."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> Float[Tensor, "b k+1 h"]:
        """L x − γ LᵀL x."""
        moved, size2 = self.tangent(t, z, context)
        return moved - self.damping() * moved.square().sum((1, 2), keepdim=True) / size2 * z


class SphereExponential(Integrator):
    r"""Along the great circle that starts in the direction of L x, then towards the center.

        x₁ = exp(−γθ²/h) (x cos θ + |x| sin θ L x/|L x|),   θ = h |L x|/|x|

    |x₁| = exp(−γθ²/h) |x|, hence E₁ ≤ E for every h, and E₁ = E without damping. Solve-free.
    """

    order = 1
    preserves = ((SphereTransformerField, Invariant.DECAY),)

    def step(self, field: SphereTransformerField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        tangent, size2 = field.tangent(t, z, context)
        with full_precision(z):
            speed2 = tangent.square().sum((1, 2), keepdim=True) / size2
            angle = dt * (speed2 + torch.finfo(z.dtype).eps ** 2).sqrt()
            turned = torch.addcmul(z * angle.cos(), tangent, dt * torch.sinc(angle / math.pi))
            kept = z.square().sum((1, 2), keepdim=True) / (
                turned.square().sum((1, 2), keepdim=True) + torch.finfo(z.dtype).tiny
            )
            return turned * kept.sqrt() * torch.exp(-dt * field.damping() * speed2), carry


class SphereTransformer(Stack):
    r"""Transformer blocks that turn tokens and a reservoir as one vector, at a cost in energy.

        x = (z, r),   dx/dt = L x − γ LᵀL x,   L x = the part of (B(z) − z, 0) tangent to the sphere
        E = ½|z|² + ½r²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time, and no code outgrows √(1 +
    ρ²) times its size at the start. The parameters are those of a transformer of equal depth and
    two numbers per block. B sees the tokens
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
        def field() -> SphereTransformerField:
            return SphereTransformerField(
                dim,
                heads=heads,
                ratio=ratio,
                lengths=lengths,
                gamma=gamma,
                learned=learned,
                reservoir=reservoir,
            )

        blocks = [
            FlowBlock(field=field(), integrator=SphereExponential(), h=1.0, h_max=2.0)
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
