"""Potential energies of tokens, bounded below, with gradients in closed form."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy
from fields.nn.geometry import Rotary, proximity, rotate


def log_cosh(u: Tensor) -> Tensor:
    """log cosh u without overflow."""
    return u.abs() + torch.log1p(torch.exp(-2 * u.abs())) - math.log(2)


class BoundedFeatures(nn.Module):
    """g = γ q / √(1 + |q|²/c) per token: |g|² ≤ γ² c, so that no energy built from g is unbounded below."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, q: Float[Tensor, "b k c"]) -> tuple[Float[Tensor, "b k c"], Float[Tensor, "b k 1"]]:
        """g and the root r."""
        r = (1 + q.square().mean(-1, keepdim=True)).sqrt()
        return self.gamma * q / r, r

    def pull_back(self, grad_g: Tensor, q: Tensor, r: Tensor) -> Float[Tensor, "b k c"]:
        """∂/∂q from ∂/∂g:   (γ/r) (∂g − q (q·∂g) / (c r²))."""
        along = (q * grad_g).mean(-1, keepdim=True)
        return self.gamma / r * (grad_g - q * along / r.square())


class AttentionEnergy(Energy):
    r"""Tokens that attend to each other attract, and each is drawn to learned patterns.

        V = k/2 |q|² − Σₕ aₕ/β Σₙ log Σₘ exp(β Qₙ·Kₘ − ‖xₙ − xₘ‖²/2ℓₕ²) + Σₙ Σ_μ w_μ log cosh(ξ_μ·gₙ + b_μ)
        ∂V/∂g = −Σₕ aₕ (Aₕ Kₕ Wqₕ + Aₕᵀ Qₕ Wkₕ) + Ξᵀ (w tanh(Ξ g + b)),    A = softmax of the exponent over m

    with Q = R(x) Wq g, K = R(x) Wk g, R the rotation by position, g = γ q / √(1 + |q|²/c), β = 1/√d. One pass gives V
    and ∇V. Both sums are bounded because g is, and k > 0, so V has a lower bound whatever the weights: an orbit of constant
    energy cannot escape.

    Args:
        dim: channels c of q.
        heads: number of attention terms.
        ratio: number of patterns ξ_μ over c.
        lengths: ℓ of the first and last head at the start, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.

    Shape: q (b k c) -> V (b), ∇V (b k c).
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        ratio: float = 4.0,
        lengths: tuple[float, float] = (0.1, 1.0),
        max_frequency: float = 8.0,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"AttentionEnergy has {dim} channels, which {heads} heads cannot share. Use a divisor of {dim}.")
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
        self.log_length = nn.Parameter(torch.linspace(math.log(lengths[0]), math.log(lengths[1]), heads))
        self.rotary = Rotary(dim // heads, max_frequency=max_frequency)

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q."""
        g, r = self.features(z)
        g = context.shift(g)
        attention, grad_attention = self._attention(g, context)
        inner = F.linear(g, self.patterns, self.bias)
        memory = log_cosh(inner) @ self.weight
        grad_g = grad_attention + (self.weight * inner.tanh()) @ self.patterns
        stiffness = self.log_stiffness.exp()
        value = 0.5 * stiffness * z.square().sum((-2, -1)) + attention + memory.sum(-1)
        return value, stiffness * z + self.features.pull_back(grad_g, z, r)

    def _attention(self, g: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        query, key = (rearrange(F.linear(g, w), "b k (h e) -> b h k e", h=self.heads) for w in (self.query, self.key))
        beta, turn = query.shape[-1] ** -0.5, None
        if context.pos is not None:
            turn = self.rotary(context.pos, context.periodic)
            query, key = rotate(query, turn), rotate(key, turn)
        score = (beta * query) @ key.mT
        if context.distance2 is not None:
            score = score + proximity(context.distance2, self.log_length)
        total = score.logsumexp(-1, keepdim=True)
        attention = (score - total).exp()
        value = -(total.sum((-2, -1)) @ self.amplitude) / beta
        amplitude = self.amplitude[:, None, None]
        pulled = [-amplitude * (attention @ key), -amplitude * (attention.mT @ query)]
        if turn is not None:
            pulled = [rotate(x, turn, back=True) for x in pulled]
        to_query, to_key = (rearrange(x, "b h k e -> b k (h e)") for x in pulled)
        return value, to_query @ self.query + to_key @ self.key


class MLPEnergy(Energy):
    r"""Each token in a landscape of its own: the simple alternative without attention.

        V = k/2 |q|² + Σₙ a · log cosh(W₂ tanh(W₁ gₙ + b₁) + b₂)

    Shape: q (b k c) -> V (b), ∇V (b k c).
    """

    def __init__(self, dim: int, *, hidden: int | None = None):
        super().__init__()
        hidden = 2 * dim if hidden is None else hidden
        self.features = BoundedFeatures()
        self.first = nn.Linear(dim, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.weight = nn.Parameter(torch.full((hidden,), 0.5))
        self.log_stiffness = nn.Parameter(torch.zeros(()))

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q."""
        g, r = self.features(z)
        inner = self.first(context.shift(g)).tanh()
        outer = self.second(inner)
        grad_inner = (self.weight * outer.tanh()) @ self.second.weight
        grad_g = (grad_inner * (1 - inner.square())) @ self.first.weight
        stiffness = self.log_stiffness.exp()
        value = 0.5 * stiffness * z.square().sum((-2, -1)) + (log_cosh(outer) @ self.weight).sum(-1)
        return value, stiffness * z + self.features.pull_back(grad_g, z, r)
