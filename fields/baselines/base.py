"""Models that predict at certain points only, and the interpolation from these to the queries."""

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
from fields.nn.interpolation.mesh import hat_basis
from fields.nn.interpolation.multilinear import multilinear
from fields.nn.sensor_array import SensorArray


class InputPointOperator(Operator, ABC):
    """A model that predicts at the points of its input.

    At other queries its prediction is interpolated linearly, with a warning.

    Example:
        >>> from fields import Sample, Schema
        >>> class Copy(InputPointOperator):
        ...     def forward_at_input(self, batch):
        ...         return self.normalizer.inputs(batch.u, batch.params)
        >>> schema = Schema(("x",), ("a",), ("u",), periodic=(False,), bounds=((0.0, 1.0),))
        >>> model = Copy(schema=schema, normalizer=Normalizer(schema, {"a": (0, 1), "u": (0, 1)}))
        >>> x, y = torch.linspace(0, 1, 5)[None, :, None], torch.full((1, 1, 1), 0.3)
        >>> batch = Sample(x, x.clone(), torch.ones(1, 5) > 0, y, torch.zeros(1, 1, 1, 1),
        ...                torch.ones(1, 1) > 0, torch.zeros(1, 1), torch.zeros(1, 0))
        >>> with warnings.catch_warnings(action="ignore"):
        ...     float(model(batch))
        0.30...
    """

    @abstractmethod
    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """Normalized outputs at the points of the input."""

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        v = self.normalizer.physical(self.forward_at_input(batch), batch.params)
        if batch.y.shape != batch.x.shape or not torch.equal(batch.y, batch.x):
            warnings.warn(
                f"{type(self).__name__} predicts at the points of its input; its prediction at "
                "other points is interpolated.",
                stacklevel=2,
            )
            x = self.normalizer.points(batch.x)
            y = self.normalizer.points(batch.y)
            v = interpolate_linear(v, x, y, self.schema.periodic, batch.x_mask)
        return v[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Bytes of the interpolation per query; the points of the input are always all computed."""
        return interpolation_bytes(batch)


class SensorOperator(Operator, ABC):
    """A model that reads its input at fixed sensors, the points of the first input it sees.

    Input at other points is interpolated linearly, with a warning.

    Args:
        schema, normalizer: the problem.
        count: number of sensors.

    Example:
        >>> from fields.baselines.trivial import MeanField
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> MeanField(schema=schema, normalizer=normalizer, count=8).sensors.places.shape
        torch.Size([8, 1])
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.sensors = SensorArray(count, schema.dim)

    def sensor_inputs(self, batch: Sample) -> Float[Tensor, "b f"]:
        """Normalized inputs at all sensors and the constants of the PDE, one row per sample."""
        x = self.normalizer.points(batch.x)
        u = self.normalizer.masked_inputs(batch.u, batch.x_mask, batch.params)
        order = self.sensors.match(x)
        if order is not None:
            u = u[:, order]
        elif torch.isnan(self.sensors.places).any():
            # Raises: the sensors are not known yet, and the input has another number of points.
            order = self.sensors.expect(x, type(self).__name__)
        else:
            warnings.warn(
                f"{type(self).__name__} reads {self.sensors.count} fixed sensors; its input is "
                "interpolated to them.",
                stacklevel=3,
            )
            u = interpolate_linear(
                u, x, self.sensors.places[None], self.schema.periodic, batch.x_mask
            )
        return torch.cat([u.flatten(1), self.normalizer.params(batch.params)], dim=-1)

    def features(self, batch: Sample) -> Float[Tensor, "b f"]:
        """The same with every function divided by √n: a squared distance is a mean over points."""
        rows = self.sensor_inputs(batch)
        functions = self.sensors.count * self.schema.in_channels
        rows[:, :functions] /= self.sensors.count**0.5
        return rows

    def decode_sensors(self, v: Float[Tensor, "b n o"], batch: Sample) -> Float[Tensor, "b s m o"]:
        """Normalized outputs at the sensors -> predictions at the queries, in physical units."""
        y = self.normalizer.points(batch.y)
        order = self.sensors.match(y)
        if order is not None:
            return self.normalizer.physical(v[:, order.argsort()], batch.params)[:, None]
        warnings.warn(
            f"{type(self).__name__} predicts at its {self.sensors.count} sensors; its prediction "
            "at other points is interpolated.",
            stacklevel=3,
        )
        v = interpolate_linear(v, self.sensors.places[None], y, self.schema.periodic)
        return self.normalizer.physical(v, batch.params)[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Bytes of the interpolation per query; the sensors are always all computed."""
        return interpolation_bytes(batch)


def interpolation_bytes(batch: Sample) -> float:
    """Bytes that linear interpolation takes per query: a few numbers per sample and channel."""
    return 32.0 * len(batch.u) * batch.v.shape[-1]


def interpolate_linear(
    values: Float[Tensor, "b n c"],
    x: Float[Tensor, "#b n d"],
    y: Float[Tensor, "#b m d"],
    periodic: Sequence[bool],
    mask: Bool[Tensor, "#b n"] | None = None,
) -> Float[Tensor, "b m c"]:
    """Interpolate linearly from points x to points y.

    Multilinear on a grid that all samples share, else on a triangulation of each sample's points;
    exact for polynomials of degree 1.

    Args:
        values: at x.
        x: points of the values, in unit coordinates.
        y: points asked for.
        periodic: which axes are.
        mask: True at real points x.

    Example:
        >>> x, y = torch.tensor([[[0.0], [0.5]]]), torch.tensor([[[0.1]]])
        >>> interpolate_linear(10 * x, x, y, (False,))
        tensor([[[1.]]])
    """
    grid = grid_axes(x) if len(y) == 1 else None
    if grid is not None:
        axes, order = grid
        on_grid = values.reshape(len(values), *(len(axes[a]) for a in order), -1)
        on_grid, axes = sort_axes(on_grid, axes, order)
        return multilinear(on_grid, axes, y[0], periodic)
    out = []
    for i, row in enumerate(values):
        real = slice(None) if mask is None else mask[i % len(mask)]
        index, weight = hat_basis(
            y[i % len(y)], x[i % len(x)][real], torch.tensor(periodic, device=x.device)
        )
        out.append((row[real][index] * weight[..., None].to(row.dtype)).sum(-2))
    return torch.stack(out)


def sort_axes(
    values: Float[Tensor, "b *sizes c"], axes: list[Tensor], order: list[int]
) -> tuple[Float[Tensor, "b *sizes c"], list[Tensor]]:
    """Grid values and their axes, in the order of the schema and each ascending.

    Points that a symmetry has moved may be in another order.

    Args:
        values: with the axis `order[0]` first.
        axes: coordinates along every axis, in the order of the schema.
        order: of the axes in `values`.
    """
    values = values.permute(0, *(1 + order.index(a) for a in range(len(order))), -1)
    for a, axis in enumerate(axes):
        values = values.index_select(1 + a, axis.argsort())
    return values, [axis.sort().values for axis in axes]
