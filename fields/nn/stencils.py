"""Neighbourhoods on periodic grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def around(field: Tensor, tokens: Sequence[int], reach: int) -> Tensor:
    """What lies around each token of a periodic grid.

    Args:
        field: (b k c) values, k = ∏ ``tokens``, of any dtype.
        tokens: tokens per axis.
        reach: neighbours seen on either side, along each axis.

    Returns:
        (b k e), e = c (2·reach + 1)ᵈ: channels first, then offsets along each axis.
    """
    field = field.unflatten(1, tuple(tokens))
    for axis in range(1, len(tokens) + 1):
        left, right = field.narrow(axis, -reach, reach), field.narrow(axis, 0, reach)
        field = torch.cat([left, field, right], dim=axis).unfold(axis, 2 * reach + 1, 1)
    return field.flatten(1 + len(tokens)).flatten(1, len(tokens))


def taps(tokens: Sequence[int], reach: int) -> int:
    """Neighbours of a token, itself included.

    Raises:
        ValueError: stencils that reach around the box would see a neighbour twice.
    """
    if min(tokens) <= 2 * reach:
        raise ValueError(f"Stencils of reach {reach} need more than {2 * reach} tokens per axis, got {tuple(tokens)}. Give more.")
    return int((2 * reach + 1) ** len(tokens))
