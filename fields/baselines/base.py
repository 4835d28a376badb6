"""What models of others have in common: they answer at certain points, and an adapter carries the answer to others."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.models.base import Operator
from fields.nn.geometry import grid_axes
from fields.nn.interpolation.mesh import hats
from fields.nn.interpolation.multilinear import multilinear
from fields.nn.sensor_array import SensorArray


class InputPointOperator(Operator, ABC):
    """Answers at the points of its input; answers elsewhere are interpolated linearly from them, and a warning says so."""

    @abstractmethod
    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """Normalized outputs at the input's points."""

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries, in physical units."""
        v = self.normalizer.physical(self.forward_at_input(batch), batch.params)
        if batch.y.shape != batch.x.shape or not torch.equal(batch.y, batch.x):
            warnings.warn(
                f"{type(self).__name__} answers at the points of its input; others are interpolated.",
                stacklevel=2,
            )
            x, y = self.normalizer.points(batch.x), self.normalizer.points(batch.y)
            v = interpolate_linear(v, x, y, self.schema.periodic, batch.x_mask)
        return v[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Interpolation alone: all points of the input are answered at once, however few are asked."""
        return interpolation_bytes(batch)


class SensorOperator(Operator, ABC):
    """Reads its input at fixed sensors, the training points; input from elsewhere is interpolated, and a warning says so."""

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int):
        super().__init__(schema=schema, normalizer=normalizer)
        self.sensors = SensorArray(count, schema.dim)

    def sensor_inputs(self, batch: Sample) -> Float[Tensor, "b f"]:
        """Normalized input at all sensors, and the constants of the PDE, in one row per sample."""
        x, u = self.normalizer.points(batch.x), self.normalizer.inputs(batch.u, batch.params)
        order = self.sensors.match(x)
        if order is not None:
            u = u[:, order]
        elif torch.isnan(self.sensors.places).any():
            order = self.sensors.expect(x, type(self).__name__)
        else:
            name, count = type(self).__name__, self.sensors.count
            warnings.warn(
                f"{name} reads {count} fixed sensors; the input is interpolated.", stacklevel=3
            )
            u = interpolate_linear(
                u, x, self.sensors.places[None], self.schema.periodic, batch.x_mask
            )
        return torch.cat([u.flatten(1), self.normalizer.params(batch.params)], dim=-1)

    def decode_sensors(self, v: Float[Tensor, "b n o"], batch: Sample) -> Float[Tensor, "b s m o"]:
        """Normalized outputs at the sensors -> predictions at the queries, in physical units."""
        y = self.normalizer.points(batch.y)
        order = self.sensors.match(y)
        if order is not None:
            return self.normalizer.physical(v[:, order.argsort()], batch.params)[:, None]
        warnings.warn(
            f"{type(self).__name__} answers at its {self.sensors.count} sensors; others are interpolated.",
            stacklevel=3,
        )
        v = interpolate_linear(v, self.sensors.places[None], y, self.schema.periodic)
        return self.normalizer.physical(v, batch.params)[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Interpolation alone: all sensors are answered at once."""
        return interpolation_bytes(batch)


def interpolation_bytes(batch: Sample) -> float:
    """A few numbers per query, sample and channel."""
    return 32.0 * len(batch.u) * batch.v.shape[-1]


def interpolate_linear(
    values: Float[Tensor, "b n c"],
    x: Float[Tensor, "#b n d"],
    y: Float[Tensor, "#b m d"],
    periodic: Sequence[bool],
    mask: Bool[Tensor, "#b n"] | None = None,
) -> Float[Tensor, "b m c"]:
    """Linear interpolation from points x to points y: cell by cell on a grid, else triangle by triangle."""
    grid = grid_axes(x) if len(y) == 1 else None
    if grid is not None:
        axes, order = grid
        on_grid = values.reshape(len(values), *(len(axes[a]) for a in order), -1)
        on_grid, axes = sort_axes(on_grid, axes, order)
        return multilinear(on_grid, axes, y[0], periodic)
    out = []
    for i, row in enumerate(values):
        real = slice(None) if mask is None else mask[i % len(mask)]
        index, weight = hats(
            y[i % len(y)], x[i % len(x)][real], torch.tensor(periodic, device=x.device)
        )
        out.append((row[real][index] * weight[..., None].to(row.dtype)).sum(-2))
    return torch.stack(out)


def sort_axes(
    values: Float[Tensor, "b *sizes c"], axes: list[Tensor], order: list[int]
) -> tuple[Tensor, list[Tensor]]:
    """Grid values with their axes in the schema's order, each ascending (points moved by a symmetry may run otherwise)."""
    values = values.permute(0, *(1 + order.index(a) for a in range(len(order))), -1)
    for a, axis in enumerate(axes):
        values = values.index_select(1 + a, axis.argsort())
    return values, [axis.sort().values for axis in axes]
