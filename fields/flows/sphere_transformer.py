r"""Sphere transformer: a transformer block that rotates the tokens, at a cost in energy.

    x = (z, r),   dx/dt = L x − γ LᵀL x,   L = (f xᵀ − x fᵀ)/|x|² = −Lᵀ,   f = (B(z) − z, 0)
    E = ½|z|² + ½r²,   dE/dt = −γ|L x|² ≤ 0

with z the tokens, r a reservoir, and B a transformer block. The law: E never increases, at every
step, for all step sizes and weights. E has no weights, so it is one energy through the whole
processor, in depth and in time. It bounds the tokens; it is not the dissipation of the PDE.
"""

from __future__ import annotations

import math
from typing import Any

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
    r"""A transformer block B rotates tokens and a reservoir as one vector, with damping.

        x = (z, r),   dx/dt = L x − γ LᵀL x,   L = (f xᵀ − x fᵀ)/|x|² = −Lᵀ
        f = (B(z) − z, 0),   r(0) = ρ|z(0)|,   E = ½|z|² + ½r²,   dE/dt = −γ|L x|²

    L x = f − x (x·f)/|x|² is the part of f tangent to the sphere |x| = const, and
    LᵀL x = x |L x|²/|x|². Every flow that preserves |x| has this form. The reservoir supplies what
    the tokens gain in norm, so that they move almost as those of a transformer, yet
    |z(t)|² ≤ (1 + ρ²)|z(0)|² at all times; and γ∫|L x|² dt ≤ E(0) bounds the total motion. B does
    not read r, so the velocity depends on the tokens only, up to the multiple x·f/|x|² of x.

    Args:
        dim: token width h.
        heads: see :class:`fields.processors.AttentionField`.
        ratio: see :class:`fields.processors.AttentionField`.
        lengths: see :class:`fields.processors.AttentionField`.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained; with a fixed γ = 0, E is constant.
        reservoir: ρ; with 0 the norm of the tokens itself never increases.

    Shape: state (b k+1 h); the last token is r, spread evenly over its channels. The context must
    hold positions.
    Reference: the double bracket of Gruber, Lee & Trask, NeurIPS 2023, with an operator of rank
    two.

    Example:
        >>> from fields.core.sample import Latent
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> field = SphereTransformerField(8)
        >>> field(0.0, field.lift(latent.z), Context.of(latent)).shape
        torch.Size([2, 6, 8])
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
        """(z, r) with a reservoir r of ρ times the norm of the tokens."""
        size = z.square().sum((1, 2), keepdim=True).mul(self.reservoir**2 / z.shape[2]).sqrt()
        return torch.cat([z, size.detach().expand(-1, -1, z.shape[2])], dim=1)

    def project(self, state: Float[Tensor, "b k+1 h"]) -> Float[Tensor, "b k h"]:
        """The tokens, without the row for the norm.   Shape: (b k+1 h) -> (b k h)."""
        return state[:, :-1]

    def tangent(
        self, t: float | Tensor, x: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b k+1 h"], Float[Tensor, "b 1 1"]]:
        """L x and |x|²; 0 and 1 for samples whose norm is zero.   Shape: (b k+1 h), (b 1 1)."""
        f = F.pad(self.free(t, self.project(x), context).to(x.dtype), (0, 0, 0, 1))
        size2 = x.square().sum((1, 2), keepdim=True)
        sphere = size2 > torch.finfo(x.dtype).eps ** 4  # a zero vector has no direction
        size2 = torch.where(sphere, size2, 1.0)
        tangent = torch.addcmul(f, x, (x * f).sum((1, 2), keepdim=True) / -size2)
        return torch.where(sphere, tangent, 0.0), size2

    def energy(
        self, state: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|z|² + ½r² of each sample."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k+1 h"], context: Context = Context()
    ) -> Float[Tensor, "b k+1 h"]:
        """L x − γ LᵀL x.   Shape: (b k+1 h)."""
        moved, size2 = self.tangent(t, z, context)
        return moved - self.damping() * moved.square().sum((1, 2), keepdim=True) / size2 * z


class SphereExponential(Integrator):
    r"""A rotation along the great circle in the direction of L x, then a contraction. Order 1.

        x₁ = exp(−γθ²/h) (x cos θ + |x| sin θ L x/|L x|),   θ = h |L x|/|x|

    Proof of the law: x and L x are orthogonal, so |x₁| = exp(−γθ²/h) |x|. Hence E₁ ≤ E for every h,
    and E₁ = E without damping. No solve.

    Example:
        >>> from fields.core.sample import Latent
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> field = SphereTransformerField(8)
        >>> x = field.lift(latent.z)
        >>> y, _ = SphereExponential().step(field, 0.0, 9.0, x, Context.of(latent), ())
        >>> bool((field.energy(y) < field.energy(x)).all())
        True
    """

    order = 1
    preserves = ((SphereTransformerField, Invariant.DECAY),)

    def step(
        self,
        field: SphereTransformerField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one rotation and contraction of size ``dt``.   Shape: (b k+1 h)."""
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
    r"""Transformer blocks that rotate tokens and a reservoir as one vector, with damping.

        x = (z, r),   dx/dt = L x − γ LᵀL x,   L x = the part of (B(z) − z, 0) tangent to the sphere
        E = ½|z|² + ½r²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time, and the norm of a code never
    exceeds √(1 + ρ²) times its initial value. The parameters are those of a transformer of equal
    depth and two numbers per block.

    Args:
        dim: token width h.
        depth: see :class:`fields.processors.Transformer`.
        heads: see :class:`fields.processors.Transformer`.
        ratio: see :class:`fields.processors.Transformer`.
        lengths: see :class:`fields.processors.Transformer`.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained.
        reservoir: ρ, the initial norm of the reservoir over that of the tokens.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> SphereTransformer(8).law.value
        'the energy never increases'
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
