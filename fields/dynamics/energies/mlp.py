"""An energy of single tokens by an MLP, with a lower bound."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Energy
from fields.dynamics.energies.attention import BoundedFeatures, log_cosh


class MLPEnergy(Energy):
    r"""An energy of each token by itself: the simple alternative without attention.

        V = k/2 |q|² + Σₙ a · log cosh(W₂ tanh(W₁ gₙ + b₁) + b₂),   g = γ q/√(1 + |q|²/c)

    Bounded below for all weights, because g and hence the sum are bounded.

    Args:
        dim: channels c of q.
        hidden: width of both layers; None for 2 c.

    Shape: q (b k c) -> V (b), ∇V (b k c).

    Example:
        >>> value, grad = MLPEnergy(8).value_and_grad(torch.randn(2, 5, 8))
        >>> value.shape, grad.shape
        (torch.Size([2]), torch.Size([2, 5, 8]))
    """

    uses_positions = False
    bounded_below = True

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
        """V and ∂V/∂q.   Shape: (b k c) -> (b), (b k c)."""
        features = self.features(z)
        inner = self.first(context.shift(features.g)).tanh()
        outer = self.second(inner)
        grad_inner = (self.weight * outer.tanh()) @ self.second.weight
        grad_g = (grad_inner * (1 - inner.square())) @ self.first.weight
        value = (log_cosh(outer) @ self.weight).sum(-1)
        return self.features.with_spring(value, grad_g, z, features, self.log_stiffness.exp())
