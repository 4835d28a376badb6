"""The energy of the energy transformer, with a lower bound."""

from __future__ import annotations

import math

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.dynamics.base import Context, Energy
from fields.dynamics.energies.attention import BoundedFeatures
from fields.nn.attention.gradients import bilinear, bilinear_grad
from fields.nn.attention.weights import LogSumExp


class EnergyTransformer(Energy):
    r"""Low where tokens are predicted by the others and lie near stored patterns.

        V = k/2 |q|² − Σₕ (1/β) Σₙ log Σ_{m≠n} exp(β Qₙ·Kₘ − ‖xₙ − xₘ‖²/2ℓₕ²)
            − ½ Σₙ Σ_μ relu(ξ_μ·gₙ)²

    with Q = Wq g, K = Wk g, β = 1/√e and g = γ q/√(1 + |q|²/c) in place of a LayerNorm, so that V
    is bounded below. Unlike in `AttentionEnergy` no token attends to itself, and the pattern term
    only attracts.

    Args:
        dim: channels c of q.
        heads: number of attention terms.
        patterns: number of patterns ξ_μ; None for 4 c.
        lengths: initial ℓ of the first and last head, in unit coordinates.

    Raises:
        ValueError: ``heads`` does not divide ``dim``.

    Shape: q (b k c) -> V (b), ∇V (b k c).
    Reference: Hoover et al., NeurIPS 2023, eq. 3–6.

    Example:
        >>> value, grad = EnergyTransformer(8).value_and_grad(torch.randn(2, 5, 8))
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
        lengths: tuple[float, float] = (0.1, 1.0),
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"EnergyTransformer has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
            )
        self.beta = (dim // heads) ** -0.5
        self.features = BoundedFeatures()
        self.query = nn.Parameter(torch.randn(heads, dim // heads, dim) / math.sqrt(dim))
        self.key = nn.Parameter(torch.randn(heads, dim // heads, dim) / math.sqrt(dim))
        self.patterns = nn.Parameter(
            torch.randn(4 * dim if patterns is None else patterns, dim) / (2 * dim)
        )
        self.log_stiffness = nn.Parameter(torch.zeros(()))
        self.log_length = nn.Parameter(
            torch.linspace(math.log(lengths[0]), math.log(lengths[1]), heads)
        )
        self.partition = LogSumExp()

    def value_and_grad(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V and ∂V/∂q.   Shape: (b k c) -> (b), (b k c)."""
        features = self.features(z)
        g = context.shift(features.g)
        q, k = (einsum(g, w, "b k c, heads e c -> b heads k e") for w in (self.query, self.key))
        score = bilinear(q, k)
        if context.distance2 is not None:
            precision = torch.exp(-2 * self.log_length)[:, None, None]
            score = score - context.distance2[:, None] * precision / (2 * self.beta)
        others = ~torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
        predicted, weights = self.partition(score, self.beta, others)
        d_q, d_k, _ = bilinear_grad(q, k, weights)
        pulled = [
            einsum(d, w, "b heads k e, heads e c -> b k c")
            for d, w in ((d_q, self.query), (d_k, self.key))
        ]
        active = F.relu(g @ self.patterns.mT)
        value = -predicted.sum((-2, -1)) - 0.5 * active.square().sum((-2, -1))
        grad_g = -pulled[0] - pulled[1] - active @ self.patterns
        return self.features.with_spring(value, grad_g, z, features, self.log_stiffness.exp())
