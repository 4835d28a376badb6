"""The energy of attention, bounded below, and the bounded features that it is built from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fields.dynamics.base import Context, Energy
from fields.nn.attention.pairwise import EnergyAttention
from fields.nn.geometry import Rotary, distance_scores, rotate


def log_cosh(u: Tensor) -> Tensor:
    """log cosh u without overflow."""
    return u - F.logsigmoid(2 * u) - math.log(2)


class Features(NamedTuple):
    """Bounded features g of q, with γ/r (``scale``) and |q|²/c (``mean2``) for the gradient.

    Example:
        >>> f = BoundedFeatures()(torch.ones(1, 3, 4))
        >>> f.g.shape, f.scale.shape, f.mean2.flatten()
        (torch.Size([1, 3, 4]), torch.Size([1, 3, 1]), tensor([1., 1., 1.]))
    """

    g: Float[Tensor, "b k c"]
    scale: Float[Tensor, "b k 1"]
    mean2: Float[Tensor, "b k 1"]


class BoundedFeatures(nn.Module):
    """g = γ q / r with r² = 1 + |q|²/c per token, so |g|² ≤ γ² c and energies of g are bounded.

    The spring k/2 |q|² that every such energy has is computed here too, from the same |q|².

    Example:
        >>> features = BoundedFeatures()(100 * torch.ones(1, 3, 4))
        >>> features.g.shape, bool((features.g.square().sum(-1) <= 4).all())
        (torch.Size([1, 3, 4]), True)
    """

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, q: Float[Tensor, "b k c"]) -> Features:
        """g, γ/r and |q|²/c."""
        mean2 = q.square().mean(-1, keepdim=True)
        scale = self.gamma * (1 + mean2).rsqrt()
        return Features(q * scale, scale, mean2)

    def with_spring(
        self,
        value: Float[Tensor, "b"],
        grad_g: Float[Tensor, "b k c"],
        q: Float[Tensor, "b k c"],
        f: Features,
        k: Tensor,
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """k/2 |q|² + U and k q + (γ/r) (∂g − q (q·∂g) / (c r²)), from U(g) and its gradient ∂g."""
        along = (q * grad_g).mean(-1, keepdim=True)
        radial = torch.addcmul(k, f.scale, along / (1 + f.mean2), value=-1)
        spring = (0.5 * q.shape[-1]) * k * f.mean2.sum((-2, -1))
        return spring + value, torch.addcmul(f.scale * grad_g, q, radial)


class Memory(torch.autograd.Function):
    r"""T = Σₙ log σ(uₙ) and s = σ(u), for log cosh and tanh; only s is stored for backward.

        dU = (1 − s) (dT + s dS)

    Once differentiable.   Shape: u (b k m) -> T (b m), s (b k m).

    Example:
        >>> total, s = Memory.apply(torch.zeros(1, 3, 2))
        >>> total.shape, s.shape
        (torch.Size([1, 2]), torch.Size([1, 3, 2]))
    """

    @staticmethod
    def forward(
        ctx: Any, u: Float[Tensor, "b k m"]
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b k m"]]:
        """T and s.   Shape: (b k m) -> (b m), (b k m)."""
        s = u.sigmoid()
        ctx.save_for_backward(s)
        return F.logsigmoid(u).sum(1), s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, d_s: Tensor) -> Tensor:
        """The gradient with respect to u.   Shape: (b k m)."""
        (s,) = ctx.saved_tensors
        d_u = torch.addcmul(d_total[:, None], s, d_s)
        return torch.addcmul(d_u, d_u, s, value=-1)


class AttentionEnergy(Energy):
    r"""Tokens that attend to each other attract, and each is attracted to learned patterns.

        V = k/2 |q|² − Σₕ aₕ/β Σₙ log Σₘ exp(β Qₙ·Kₘ − min(‖xₙ − xₘ‖²/2ℓₕ², 40))
            + Σₙ Σ_μ w_μ log cosh(ξ_μ·gₙ + b_μ)
        ∂V/∂g = −Σₕ aₕ (Aₕ Kₕ Wqₕ + Aₕᵀ Qₕ Wkₕ) + Ξᵀ (w tanh(Ξ g + b))

    with A the softmax of the exponent over m, Q = R(x) Wq g, K = R(x) Wk g, R the rotation by
    position, g = γ q / √(1 + |q|²/c) and β = 1/√d. One pass gives V and ∇V. Both sums are bounded
    because g is, and k > 0, so V has a lower bound for all weights: an orbit of constant energy
    cannot escape.

    Args:
        dim: channels c of q.
        heads: number of attention terms.
        ratio: number of patterns ξ_μ over c.
        lengths: initial ℓ of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.

    Raises:
        ValueError: ``heads`` does not divide ``dim``.

    Shape: q (b k c) -> V (b), ∇V (b k c).

    Example:
        >>> value, grad = AttentionEnergy(8).value_and_grad(torch.randn(2, 5, 8))
        >>> value.shape, grad.shape
        (torch.Size([2]), torch.Size([2, 5, 8]))
    """

    bounded_below = True

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        ratio: float = 1.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        max_frequency: float = 8.0,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"AttentionEnergy has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
            )
        patterns = int(ratio * dim)
        self.heads = heads
        self.features = BoundedFeatures()
        self.query = nn.Parameter(torch.randn(dim, dim) / math.sqrt(dim))
        self.key = nn.Parameter(torch.randn(dim, dim) / math.sqrt(dim))
        self.patterns = nn.Parameter(torch.randn(patterns, dim) / math.sqrt(dim))
        self.bias = nn.Parameter(torch.zeros(patterns))
        self.weight = nn.Parameter(torch.full((patterns,), 0.5 * dim / patterns))
        self.amplitude = nn.Parameter(torch.ones(heads))
        self.log_stiffness = nn.Parameter(torch.zeros(()))
        self.log_length = nn.Parameter(
            torch.linspace(math.log(lengths[0]), math.log(lengths[1]), heads)
        )
        self.rotary = Rotary(dim // heads, max_frequency=max_frequency)
        self.pairs = EnergyAttention()

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q.   Shape: (b k c) -> (b), (b k c)."""
        features = self.features(z)
        g = context.shift(features.g)
        attention, grad_attention = self._attention(g, context)
        memory, grad_memory = self._memory(g)
        stiffness = self.log_stiffness.exp()
        return self.features.with_spring(
            attention + memory, grad_attention + grad_memory, z, features, stiffness
        )

    def _memory(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """The pattern term and its gradient in g.

        log cosh u = u − log σ(2u) − log 2 and tanh u = 2σ(2u) − 1 need few passes over the wide u.
        """
        twice = F.linear(g, 2 * self.patterns, 2 * self.bias)
        slope = self.weight @ self.patterns  # of Σ w u
        offset = g.shape[1] * (self.weight @ (self.bias - math.log(2)))
        total, sigmoid = Memory.apply(twice)
        value = g.sum(1) @ slope + offset - total @ self.weight
        return value, sigmoid @ (2 * self.weight[:, None] * self.patterns) - slope

    def _attention(self, g: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The attention term and its gradient in g."""
        beta = (g.shape[-1] // self.heads) ** -0.5
        turn = None
        weight = torch.cat([beta * self.query, self.key])
        both = rearrange(F.linear(g, weight), "b k (two h e) -> two b h k e", two=2, h=self.heads)
        if context.pos is not None:
            turn = self.rotary(context.pos, context.periodic)
            both = rotate(both, turn)
        if context.distance2 is None:
            near = g.new_zeros(1, 1, 1, 1)
        else:
            near = distance_scores(context.distance2, self.log_length)
        total, to_query, to_key = self.pairs(both[0], both[1], near)
        pulled = torch.stack([to_query, to_key])
        pulled = pulled if turn is None else rotate(pulled, turn, back=True)
        amplitude = self.amplitude / beta
        scale = repeat(amplitude, "h -> (two h e) 1", two=2, e=pulled.shape[-1])
        pulled = rearrange(pulled, "two b h k e -> b k (two h e)")
        return -(total.sum(-1) @ amplitude), pulled @ (-scale * weight)
