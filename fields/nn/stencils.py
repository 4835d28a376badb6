"""Neighborhoods on periodic grids."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def around(field: Tensor, tokens: Sequence[int], radius: int) -> Tensor:
    """The values in the neighborhood of each token of a periodic grid.

    Args:
        field: (b k c) values, k = ∏ ``tokens``, of any dtype.
        tokens: tokens per axis.
        radius: neighbors seen on either side, along each axis.

    Returns:
        (b k e), e = c (2·radius + 1)ᵈ: channels first, then offsets along each axis.

    Example:
        >>> around(torch.arange(4.0).view(1, 4, 1), (4,), 1)[0, 0]
        tensor([3., 0., 1.])
    """
    field = field.unflatten(1, tuple(tokens))
    for axis in range(1, len(tokens) + 1):
        left = field.narrow(axis, -radius, radius)
        right = field.narrow(axis, 0, radius)
        field = torch.cat([left, field, right], dim=axis).unfold(axis, 2 * radius + 1, 1)
    return field.flatten(1 + len(tokens)).flatten(1, len(tokens))


def taps(tokens: Sequence[int], radius: int) -> int:
    """Number of neighbors of a token, itself included.

    Raises:
        ValueError: the stencil reaches around the domain and would contain a neighbor twice.

    Example:
        >>> taps((8, 8), radius=1)
        9
    """
    if min(tokens) <= 2 * radius:
        raise ValueError(
            f"Stencils of radius {radius} need more than {2 * radius} tokens per axis, "
            f"got {tuple(tokens)}. Give more tokens or a smaller radius."
        )
    return int((2 * radius + 1) ** len(tokens))


class Spread(nn.Module):
    """Σₙ Pₙᵀ W(n) Pₙ: matrices that act on the neighborhood of each place n, as one matrix.

    Pₙ reads the neighborhood of n in the order of `around`; the sum acts on vectors z.flatten(1).

    Args:
        tokens: tokens per axis.
        dim: channels c.
        radius: neighbors on either side, along each axis.

    Example:
        >>> spread = Spread((4,), 1, 1)
        >>> spread(torch.ones(2, 4, 9)).shape
        torch.Size([2, 4, 4])
    """

    pairs: Tensor

    def __init__(self, tokens: Sequence[int], dim: int, radius: int):
        super().__init__()
        self.size = math.prod(tokens) * dim
        places = around(torch.arange(self.size).view(1, -1, dim), tokens, radius)[0]
        self.register_buffer(
            "pairs", (places[:, :, None] * self.size + places[:, None]).flatten(), persistent=False
        )

    def forward(self, local: Float[Tensor, "b k ee"]) -> Float[Tensor, "b kc kc"]:
        """The sum, from the matrix of each place, row by row.   Shape: (b k ee) -> (b kc kc)."""
        flat = local.new_zeros(len(local), self.size**2).index_add(1, self.pairs, local.flatten(1))
        return flat.view(-1, self.size, self.size)
