"""Bilinear forms that compare queries with keys."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn


class BilinearForm(nn.Module, ABC):
    r"""A bilinear form per head, symmetric and positive semi-definite by construction.

        score(q, k) = q g kᵀ / √e

    g starts as the identity, which gives ordinary scaled dot products. Constructor: ``(width, *,
    heads)`` with ``width`` the channels e per head; ``heads=1`` shares one g between all heads.

    Example:
        >>> form: BilinearForm = DiagonalForm(4, heads=2)
        >>> form.matrix().shape, form(torch.ones(1, 2, 3, 4)).shape
        (torch.Size([2, 4, 4]), torch.Size([1, 2, 3, 4]))
    """

    @abstractmethod
    def forward(self, q: Float[Tensor, "b heads m e"]) -> Float[Tensor, "b heads m e"]:
        """The product q g, whose scalar product with a key is the score. Shape: as q."""

    @abstractmethod
    def matrix(self) -> Float[Tensor, "heads e e"]:
        """The matrix g of every head."""


class DiagonalForm(BilinearForm):
    """g = diag(exp w): each channel has its own positive weight.

    Example:
        >>> DiagonalForm(4, heads=2)(torch.ones(1, 2, 3, 4)).shape
        torch.Size([1, 2, 3, 4])
    """

    def __init__(self, width: int, *, heads: int = 1):
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(heads, width))

    def forward(self, q: Float[Tensor, "b heads m e"]) -> Float[Tensor, "b heads m e"]:
        """The product q g. Shape: as q."""
        return q * self.log_weight.exp()[:, None].to(q.dtype)

    def matrix(self) -> Float[Tensor, "heads e e"]:
        """The matrix diag(exp w) of every head."""
        return torch.diag_embed(self.log_weight.exp())


class GramForm(BilinearForm):
    """g = Wᵀ W: queries and keys are compared after one linear map W, and q g qᵀ = ‖W q‖² ≥ 0.

    Example:
        >>> GramForm(4).matrix().shape
        torch.Size([1, 4, 4])
    """

    def __init__(self, width: int, *, heads: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(width).expand(heads, width, width).clone())

    def forward(self, q: Float[Tensor, "b heads m e"]) -> Float[Tensor, "b heads m e"]:
        """The product q g. Shape: as q."""
        return q @ self.matrix().to(q.dtype)

    def matrix(self) -> Float[Tensor, "heads e e"]:
        """The matrix Wᵀ W of every head."""
        return einsum(self.weight, self.weight, "heads r e, heads r f -> heads e f")
