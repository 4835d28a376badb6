"""Places that never change."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

TOLERANCE = 1e-4  # of the domain; closer places are the same


class SensorArray(nn.Module):
    """The fixed places of the input: those of the first points it sees, kept as a buffer, sorted by coordinates.

    Args:
        count: number of sensors.
        axes: number of coordinates.
    """

    places: Tensor

    def __init__(self, count: int, axes: int):
        super().__init__()
        self.count = count
        self.register_buffer("places", torch.full((count, axes), torch.nan))

    def match(self, x: Float[Tensor, "#b n d"]) -> Int[Tensor, "n"] | None:
        """The order in which points x are the sensors; None if they are other points."""
        if len(x) != 1 or x.shape[1] != self.count:
            return None
        order = _sorted(x[0])
        if torch.isnan(self.places).any():
            self.places.copy_(x[0, order])
        return order if (x[0, order] - self.places).abs().max() < TOLERANCE else None

    def expect(self, x: Float[Tensor, "#b n d"], name: str) -> Int[Tensor, "n"]:
        """The same, with a sentence for whoever comes with other points."""
        if x.shape[1] != self.count:
            raise ValueError(
                f"{name} was built for {self.count} fixed sensors, got {x.shape[1]} points. "
                "Give the input at the sensors, or use the `CrossAttentionEncoder` encoder, which reads any points."
            )
        order = self.match(x)
        if order is None:
            raise ValueError(
                f"{name} reads {self.count} fixed sensors, got as many points elsewhere. Give the input at the sensors, "
                "train with `augment: false` if a symmetry moves them, or use the `CrossAttentionEncoder` encoder."
            )
        return order


def _sorted(x: Tensor) -> Tensor:
    """Order by the first coordinate, then the second …; coordinates that agree to rounding are equal."""
    order = torch.arange(len(x), device=x.device)
    for axis in reversed(range(x.shape[1])):
        order = order[(x[order, axis] / TOLERANCE).round().argsort(stable=True)]
    return order
