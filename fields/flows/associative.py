"""Tokens remember: an energy made of learned patterns, and the flow that retrieves them."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.attention.weights import Partition, softmax
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class PatternEnergy(Energy):
    r"""A Hopfield energy whose patterns describe neighborhoods: low where every token's surroundings look familiar.

        E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·yₙ),    y = Pₕ z Wₕ,   Pₕ = softmaxₘ(−‖xₙ − xₘ‖²/2ℓₕ²)
        ∇E = z − Σₕ Pₕᵀ (Aₕ Ξₕ) Wₕᵀ,    A = softmax_μ(β Ξ y)

    It is ½|z|² less a convex function of z, because y is linear in z, hence bounded below, and a
    step z − h ∇E with 0 ≤ h ≤ 2 never raises it. With one head, ℓ → 0 and W = 1 each token is a
    modern Hopfield network (`fields.nn.hopfield.modern`).

    Args:
        dim: token width h.
        heads: number of memories, each with a length and a view W of its own.
        patterns: patterns per memory.
        lengths: ℓ of the first and last head at the start, in unit coordinates.

    Shape: z (b k h) -> E (b), ∇E (b k h).
    """

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
                f"PatternEnergy has {dim} channels, which {heads} heads cannot share. Use a divisor of {dim}."
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
        self.partition = Partition()

    def value_and_grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k h"]]:
        """E and ∇E."""
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
        if context.distance2 is None:
            return None
        precision = torch.exp(-2 * self.log_length)[:, None, None]
        return softmax(-0.5 * precision * context.distance2[:, None])


class HopfieldField(EnergyField):
    """Tokens slide to the nearest memory.   dz/dt = −∇E(z),   dE/dt = −|∇E|² ≤ 0

    Args:
        dim: token width h.
        heads, patterns, lengths: as in :class:`PatternEnergy`.

    Shape: z (b k h) -> dz/dt (b k h).
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
        """−∇E."""
        return -self.memory.grad(z, context)


class HopfieldUpdate(Integrator):
    r"""z₁ = z − min(h, 2) ∇E(z). Order 1; h = 1 is one retrieval, that is attention on the patterns.

    E = ½|z|² − c(z) with c convex. Its tangent bounds c from below, so E(z₁) ≤ E(z) − h (1 − h/2)
    |∇E|²: E never rises.

    Reference: Yuille & Rangarajan 2003 (the concave–convex procedure).
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
    ):
        """One step."""
        with full_precision(z):
            return z + torch.clamp(torch.as_tensor(dt), max=2) * field(t, z, context), carry


class Associative(Stack):
    r"""Tokens retrieve, again and again, from learned patterns of neighborhoods.

        z ← z − h ∇E(z),    E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·(Pₕ z Wₕ)ₙ)

    One energy throughout, and it never rises, at any step size that can be learned. Retrieval
    cleans up tokens: what is stored attracts, what is not fades.

    Args:
        dim: token width h.
        heads, patterns, lengths: as in :class:`fields.flows.associative.PatternEnergy`.
        steps: number of retrievals.
        h: step size at the start; learned between 0 and 2.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.

    Reference: Ramsauer et al. 2020; Hoover et al. 2023 for the use as a layer.
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
