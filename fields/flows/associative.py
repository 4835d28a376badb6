r"""Associative memory: tokens descend the energy of learned patterns of neighborhoods.

    dz/dt = −∇E(z),   dE/dt = −|∇E|² ≤ 0
    E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·(Pₕ z Wₕ)ₙ)

The law: E never increases. It holds at every step z − h ∇E with 0 ≤ h ≤ 2, for all weights, and
with one energy through the whole processor, in depth and in time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.attention.weights import LogSumExp, softmax
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class PatternEnergy(Energy):
    r"""A Hopfield energy of neighborhoods: low where the surroundings of a token match a pattern.

        E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·yₙ)
        y = Pₕ z Wₕ,   Pₕ = softmaxₘ(−‖xₙ − xₘ‖²/2ℓₕ²)
        ∇E = z − Σₕ Pₕᵀ (Aₕ Ξₕ) Wₕᵀ,   A = softmax_μ(β Ξ y)

    y is linear in z, so E is ½|z|² minus a convex function of linear growth: bounded below. With
    one head, ℓ → 0 and W = 1 each token is a modern Hopfield network (`fields.nn.hopfield.modern`).

    Args:
        dim: token width h.
        heads: number of memories, each with a length and a projection W of its own.
        patterns: patterns ξ per memory; None for four times the width of a head.
        lengths: initial ℓ of the first and last head, in unit coordinates.

    Raises:
        ValueError: ``heads`` does not divide ``dim``.

    Shape: z (b k h) -> E (b), ∇E (b k h).
    Reference: Ramsauer et al., ICLR 2021, eq. 1.

    Example:
        >>> value, grad = PatternEnergy(8).value_and_grad(torch.randn(2, 5, 8))
        >>> value.shape, grad.shape
        (torch.Size([2]), torch.Size([2, 5, 8]))
    """

    bounded_below = True

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        patterns: int | None = None,
        lengths: tuple[float, float] = (0.05, 0.5),
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"PatternEnergy has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
            )
        width = dim // heads
        self.patterns = nn.Parameter(
            torch.randn(heads, 4 * width if patterns is None else patterns, width)
        )
        view = nn.init.orthogonal_(torch.empty(dim, dim))
        self.view = nn.Parameter(view.reshape(dim, heads, width).transpose(0, 1).contiguous())
        self.log_beta = nn.Parameter(torch.zeros(heads))
        self.log_length = nn.Parameter(
            torch.linspace(math.log(lengths[0]), math.log(lengths[1]), heads)
        )
        self.partition = LogSumExp()

    def value_and_grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k h"]]:
        """E and ∇E.   Shape: (b k h) -> (b), (b k h)."""
        y = einsum(context.shift(z), self.view, "b k h, heads h e -> b heads k e")
        near = self._neighborhood(context)
        y = y if near is None else near @ y
        score = einsum(y, self.patterns, "b heads k e, heads p e -> b heads k p")
        familiar, weights = self.partition(score, self.log_beta.exp()[:, None, None])
        recalled = einsum(weights, self.patterns, "b heads k p, heads p e -> b heads k e")
        recalled = recalled if near is None else near.mT @ recalled
        value = 0.5 * z.square().sum((-2, -1)) - familiar.sum((-2, -1))
        return value, z - einsum(recalled, self.view, "b heads k e, heads h e -> b k h")

    def _neighborhood(self, context: Context) -> Float[Tensor, "#b heads k k"] | None:
        """P of each head; None where there are no positions."""
        if context.distance2 is None:
            return None
        precision = torch.exp(-2 * self.log_length)[:, None, None]
        return softmax(-0.5 * precision * context.distance2[:, None])


class HopfieldField(EnergyField):
    """Gradient flow of a :class:`PatternEnergy`.   dz/dt = −∇E(z),   dE/dt = −|∇E|² ≤ 0

    Args:
        dim: token width h.
        heads: see :class:`PatternEnergy`.
        patterns: see :class:`PatternEnergy`.
        lengths: see :class:`PatternEnergy`.

    Shape: z (b k h) -> dz/dt (b k h).

    Example:
        >>> HopfieldField(8)(0.0, torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    law = Invariant.DECAY

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        patterns: int | None = None,
        lengths: tuple[float, float] = (0.05, 0.5),
    ):
        super().__init__()
        self.memory = PatternEnergy(dim, heads=heads, patterns=patterns, lengths=lengths)

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E of each sample."""
        return self.memory(state, context)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """−∇E.   Shape: (b k h)."""
        return -self.memory.grad(z, context)


class HopfieldUpdate(Integrator):
    r"""z₁ = z − min(h, 2) ∇E(z). Order 1; h = 1 is one retrieval, that is, attention on patterns.

    Proof of the law: E = ½|z|² − c(z) with c convex, and the tangent of c bounds it from below, so
    E(z₁) ≤ E(z) − h (1 − h/2) |∇E|² for 0 ≤ h ≤ 2: E never increases.

    Reference: Yuille & Rangarajan, Neural Computation 15 (2003), the concave–convex procedure.

    Example:
        >>> field, z = HopfieldField(8), torch.randn(2, 5, 8)
        >>> x, _ = HopfieldUpdate().step(field, 0.0, 1.0, z, Context(), ())
        >>> bool((field.energy(x) <= field.energy(z)).all())
        True
    """

    order = 1
    preserves = ((HopfieldField, Invariant.DECAY),)

    def step(
        self,
        field: HopfieldField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one descent step of size min(dt, 2).   Shape: (b k h) -> (b k h)."""
        with full_precision(z):
            return z + torch.clamp(torch.as_tensor(dt), max=2) * field(t, z, context), carry


class Associative(Stack):
    r"""Tokens are retrieved from learned patterns of neighborhoods, step by step.

        z ← z − h ∇E(z),   E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·(Pₕ z Wₕ)ₙ)

    One energy throughout, which never increases, at any step size that can be learned. Tokens
    approach what is stored, and components that match no pattern decay.

    Args:
        dim: token width h.
        heads: see :class:`PatternEnergy`.
        patterns: see :class:`PatternEnergy`.
        lengths: see :class:`PatternEnergy`.
        steps: number of retrievals.
        h: initial step size; learned between 0 and 2.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Reference: Ramsauer et al., ICLR 2021; Hoover et al., NeurIPS 2023, for the use as a layer.

    Example:
        >>> Associative(8).law.value
        'the energy never increases'
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        patterns: int | None = None,
        lengths: tuple[float, float] = (0.05, 0.5),
        steps: int = 4,
        h: float = 0.5,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        field = HopfieldField(dim, heads=heads, patterns=patterns, lengths=lengths)
        block = FlowBlock(field=field, integrator=HopfieldUpdate(), steps=steps, h=h, h_max=2.0)
        super().__init__([block], dt=dt, recompute=recompute)
