"""Multilinear interpolation on the product of axes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def multilinear(
    values: Float[Tensor, "b *sizes c"],
    axes: Sequence[Float[Tensor, "_"]],
    y: Float[Tensor, "m d"],
    periodic: Sequence[bool],
) -> Float[Tensor, "b m c"]:
    """Interpolate values on the product of increasing axes, of any spacing, at points y.

    Outside a non-periodic axis the value is that of its nearest end. Unit coordinates: periodic
    axes have period 1.

    Example:
        >>> axis = torch.tensor([0.0, 0.5])
        >>> values = torch.tensor([[[0.0], [1.0]]])
        >>> multilinear(values, [axis], torch.tensor([[0.25]]), [False])
        tensor([[[0.5000]]])
    """
    places = [
        _cell(axis, y[:, a], wrap)
        for a, (axis, wrap) in enumerate(zip(axes, periodic, strict=True))
    ]
    out = values.new_zeros(len(values), len(y), values.shape[-1])
    for corner in itertools.product((0, 1), repeat=len(axes)):
        at = tuple(place[side] for place, side in zip(places, corner, strict=True))
        share = [t if side else 1 - t for (_, _, t), side in zip(places, corner, strict=True)]
        out = (
            out + torch.stack(share).prod(0)[:, None].to(values.dtype) * values[(slice(None), *at)]
        )
    return out


def _cell(axis: Tensor, y: Tensor, wrap: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the grid lines on both sides of each point, and its relative position."""
    if len(axis) == 1:
        first = torch.zeros_like(y, dtype=torch.long)
        return first, first, torch.zeros_like(y)
    count = len(axis)
    if wrap:
        y = axis[0] + (y - axis[0]) % 1
        axis = torch.cat([axis, axis[:1] + 1])
    right = torch.searchsorted(axis.contiguous(), y.contiguous()).clamp(1, len(axis) - 1)
    t = ((y - axis[right - 1]) / (axis[right] - axis[right - 1])).clamp(0, 1)
    return right - 1, right % count, t
