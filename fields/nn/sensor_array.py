"""Fixed positions of sensors."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

TOLERANCE = 1e-4  # of the domain; points closer than this are equal


class SensorArray(nn.Module):
    """The fixed positions of the input, taken from its first call and sorted by coordinates.

    They are a buffer, so that a checkpoint stores them.

    Args:
        count: number of sensors.
        axes: number of coordinates.

    Example:
        >>> sensors = SensorArray(3, 1)
        >>> sensors.match(torch.tensor([[[0.3], [0.1], [0.2]]]))
        tensor([1, 2, 0])
    """

    places: Tensor

    def __init__(self, count: int, axes: int):
        super().__init__()
        self.count = count
        self.register_buffer("places", torch.full((count, axes), torch.nan))

    def match(self, x: Float[Tensor, "#b n d"]) -> Int[Tensor, "n"] | None:
        """The order that sorts points x as the sensors; None if they are other points."""
        if len(x) != 1 or x.shape[1] != self.count:
            return None
        order = _sorted(x[0])
        if torch.isnan(self.places).any():
            self.places.copy_(x[0, order])
        return order if (x[0, order] - self.places).abs().max() < TOLERANCE else None

    def expect(self, x: Float[Tensor, "#b n d"], name: str) -> Int[Tensor, "n"]:
        """As `match`, but raise a ValueError for other points; ``name`` is that of the caller."""
        if x.shape[1] != self.count:
            raise ValueError(
                f"{name} was built for {self.count} fixed sensors, got {x.shape[1]} points. Give "
                "the input at the sensors, or use `CrossAttentionEncoder` for any points."
            )
        order = self.match(x)
        if order is None:
            raise ValueError(
                f"{name} reads {self.count} fixed sensors, got points at other positions. Give "
                "the input at the sensors, train with `augment: false` if a symmetry moves them, "
                "or use `CrossAttentionEncoder`."
            )
        return order


def _sorted(x: Tensor) -> Tensor:
    """Order by the first coordinate, then the second, …, with a tolerance for rounding."""
    order = torch.arange(len(x), device=x.device)
    for axis in reversed(range(x.shape[1])):
        order = order[(x[order, axis] / TOLERANCE).round().argsort(stable=True)]
    return order
