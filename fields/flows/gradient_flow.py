r"""Gradient flow: samples of a field descend a learned density of energy.

    dz/dt = −m ∇V(z),   E = V,   dE/dt = −Σ m |∇V|² ≤ 0

The law: V never increases, at every step, for all step sizes and weights. Between `FourierSampling`
codes V is a functional of the normalized field, learned as the one that the field descends (the
Ginzburg–Landau energy for Allen–Cahn). In depth each block has an energy of its own; in time the
energy of the last block never increases.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.dynamics.energies.local import LocalEnergy
from fields.integrators.base import Integrator
from fields.nn.linear_solve import solve_symmetric
from fields.nn.stencils import Spread
from fields.processors.block import flow_blocks
from fields.processors.stack import Stack

# Fraction of the way to a singular matrix that the concave part of the curvature may take.
SHARE = 0.9


class GradientFlowField(EnergyField):
    r"""The dissipative half of a double bracket with JᵀJ = 1, for a learned density of energy.

        dz/dt = −m JᵀJ ∇V(z) = −m ∇V(z),   E = V,   dE/dt = −Σ m |∇V|² ≤ 0

    Channels that are given (``LocalEnergy(given=…)``) do not change.

    Args:
        dim: channels c.
        energy: c -> V.
        mobility: initial m of every channel; learned.

    Raises:
        ValueError: a mobility that is not positive.

    Shape: z (b k c) -> dz/dt (b k c), the tokens a periodic grid.

    Example:
        >>> from functools import partial
        >>> field = GradientFlowField(1, energy=partial(LocalEnergy, tokens=(12,)))
        >>> field(0.0, torch.randn(2, 12, 1)).shape
        torch.Size([2, 12, 1])
    """

    law = Invariant.DECAY

    def __init__(self, dim: int, *, energy: Callable[[int], LocalEnergy], mobility: float = 1.0):
        super().__init__()
        if mobility <= 0:
            raise ValueError(
                f"GradientFlowField got mobility = {mobility}: the field would not move, or would "
                "move up the energy. Give a number above 0."
            )
        self.v = energy(dim)
        self.spread = Spread(self.v.tokens, self.v.moving, self.v.radius)
        self.log_mobility = nn.Parameter(torch.full((dim,), math.log(mobility)))
        self.permutation_equivariant = self.v.permutation_invariant
        self.uses_positions = self.v.uses_positions

    def mobility(self) -> Float[Tensor, "c"]:
        """m > 0 of each channel."""
        return self.log_mobility.exp()

    def curvature(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b km km"], Float[Tensor, "b km km"]]:
        """Positive semidefinite H⁺ and H⁻ with ∂²V/∂z² = H⁺ − H⁻ in the channels that move."""
        up, down = self.v.curvature(z, context)
        return self.spread(up), self.spread(down)

    def energy(
        self, state: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = V of each sample."""
        return self.v(state, context)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b k c"]:
        """−m ∇V.   Shape: (b k c)."""
        return -self.mobility() * self.v.grad(z, context)


class BoundedRosenbrock(Integrator):
    r"""A Rosenbrock step with γ = ½, cut to the length that a bound on the energy permits.

        (1/(hm) + ½ (H⁺ − θ H⁻)) Δ = −∇V(z),   z₁ = z + s Δ
        s = min(1, −∇V·Δ / C),   θ = min(1, 1.8 / (h m |H⁻|∞))

    with ∂²V = H⁺ − H⁻, both positive semidefinite, and C such that V(z + sΔ) ≤ V(z) + s ∇V·Δ + s² C
    for 0 ≤ s ≤ 1. One Cholesky solve.

    Proof of the law: θ keeps the matrix positive definite, so ∇V·Δ < 0; and with this s the bound
    s ∇V·Δ + s² C is at most zero, so E₁ ≤ E for every h and all weights. For small h both s and θ
    are 1 and the order is 2. Steps with s < 1 are counted, and so are steps that overflow, in which
    the state stays.

    Reference: Hairer & Wanner, Solving Ordinary Differential Equations II (1996), IV.7, for the
    method without s and θ.

    Example:
        >>> from functools import partial
        >>> field = GradientFlowField(1, energy=partial(LocalEnergy, tokens=(12,), quartic=0.1))
        >>> z = torch.randn(2, 12, 1)
        >>> x, cuts = BoundedRosenbrock().step(field, 0.0, 100.0, z, Context(), torch.zeros(2))
        >>> bool((field.energy(x) <= field.energy(z)).all())
        True
    """

    order = 2
    preserves = ((GradientFlowField, Invariant.DECAY),)

    def init(self, field: GradientFlowField, z: Tensor, context: Context) -> Float[Tensor, "b"]:
        """Zero cut steps for each sample."""
        return z.new_zeros(len(z))

    def step(
        self,
        field: GradientFlowField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Float[Tensor, "b"],
    ) -> tuple[Tensor, Float[Tensor, "b"]]:
        """The state after one bounded step of size ``dt``.   Shape: (b k c) -> (b k c)."""
        with full_precision(z):
            v = field.v
            hm = dt * field.mobility()[: field.v.moving]
            grad = v.grad(z, context)[..., : v.moving]
            up, down = field.curvature(z, context)
            concave = hm.amax() * down.abs().sum(-1).amax(-1)
            theta = (2 * SHARE / concave.clamp(min=2 * SHARE))[:, None, None]
            matrix = torch.diag((1 / hm).repeat(z.shape[1])) + 0.5 * (up - theta * down)
            move = -solve_symmetric(matrix, grad.flatten(1)[..., None]).view_as(grad)
            move = F.pad(move, (0, z.shape[-1] - v.moving))
            fall = -(grad * move[..., : v.moving]).sum((1, 2))
            bound = v.bend(z, move, context)
            s = fall / (torch.maximum(fall, bound) + torch.finfo(z.dtype).tiny)
            new = z + s[:, None, None] * move
            fits = new.isfinite().flatten(1).all(1) & s.isfinite()
            return torch.where(fits[:, None, None], new, z), carry + ~(fits & (bound <= fall))

    def rejected_steps(self, carry: Float[Tensor, "b"], z: Tensor) -> Float[Tensor, "b"]:
        """Steps that were cut (s < 1)."""
        return carry


class GradientFlow(Stack):
    r"""Samples of a field on a periodic grid descend a learned local energy.

        dz/dt = −m ∇V(z),   V = Σₙ of a learned density of the neighborhood of n,   dV/dt ≤ 0

    V never increases, at any step size: in depth within each block, in time always.

    Args:
        dim: channels c.
        tokens: tokens per axis, as the encoder's.
        given: the last ``given`` channels are read and do not move.
        patterns: see :class:`fields.dynamics.LocalEnergy`.
        radius: see :class:`fields.dynamics.LocalEnergy`.
        hidden: see :class:`fields.dynamics.LocalEnergy`.
        differences: see :class:`fields.dynamics.LocalEnergy`.
        quartic: see :class:`fields.dynamics.LocalEnergy`.
        conditioned: whether constants of the PDE change the energy.
        mobility: initial m of every channel; learned.
        depth: number of blocks.
        steps: steps of each block.
        h: initial step size; learned between 0 and ``h_max``.
        h_max: upper bound of the step size.
        rotate: rotate the channels before each block after the first.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> GradientFlow(1, tokens=(12,), quartic=0.1).law.value
        'the energy never increases'
    """

    def __init__(
        self,
        dim: int,
        *,
        tokens: tuple[int, ...],
        given: int = 0,
        patterns: int = 64,
        radius: int = 3,
        hidden: int = 64,
        differences: bool = False,
        quartic: float = 0.0,
        conditioned: bool = False,
        mobility: float = 1.0,
        depth: int = 1,
        steps: int = 4,
        h: float = 0.25,
        h_max: float = 1.0,
        rotate: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def energy(channels: int) -> LocalEnergy:
            return LocalEnergy(
                channels,
                tokens=tokens,
                given=given,
                patterns=patterns,
                radius=radius,
                hidden=hidden,
                differences=differences,
                quartic=quartic,
                conditioned=conditioned,
            )

        def field() -> GradientFlowField:
            return GradientFlowField(dim, energy=energy, mobility=mobility)

        blocks = flow_blocks(
            dim,
            field,
            BoundedRosenbrock,
            depth=depth,
            steps=steps,
            h=h,
            h_max=h_max,
            rotate=rotate,
        )
        super().__init__(blocks, dt=dt, recompute=recompute)
