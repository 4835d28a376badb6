"""What a model has seen in training, and how far other inputs are from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Sample, Schema, collate
from fields.data.dataset import FieldDataset

# At most this many items of a split are read, evenly spread over it.
ITEMS = 1024
BATCH = 64
STATISTICS = ("mean", "standard deviation", "minimum", "maximum", "variation")
# Share of the validation samples whose novelty is at most 1.
COVERAGE = 0.99
# A statistic that hardly varies in training is measured in this share of the input's own size.
SMALLEST_SCALE = 0.02
# The limit is at least this many standard deviations: few samples do not show their tails.
SMALLEST_LIMIT = 3.0


@dataclass(frozen=True)
class TrainingRange:
    r"""Ranges of the parameters and statistics of the input functions of the training samples.

        novelty(u) = max_s |s(u) − mean(s)| / std(s) / limit

    The statistics s of every input variable are its mean, standard deviation, minimum, maximum and,
    on grids, its total variation (the sum over the axes of the mean over the lines of
    Σ |u_{j+1} − u_j|). None of them depends on the resolution. ``limit`` is the distance that
    99 % of the validation samples (and of the training samples) do not exceed, at least 3, so that
    a novelty above 1 is rare among samples like those of the training.

    Args:
        params: by parameter, its smallest and largest value in training.
        names: of the statistics, such as ``mean of `a` ``.
        mean: of each statistic over the training samples.
        scale: standard deviation of each statistic over the training samples.
        limit: the distance with novelty 1.
        uneven: whether the points of the training grid are unevenly spaced along an axis, so that
            the model may be given such grids.

    Example:
        >>> seen = TrainingRange(
        ...     params={"Re": (50.0, 493.0)}, names=("mean of `a`",), mean=(0.0,), scale=(0.5,),
        ...     limit=3.0,
        ... )
        >>> seen.novelty(np.array([[0.3], [-6.0]])).tolist()
        [0.19999999999999998, 4.0]
    """

    params: dict[str, tuple[float, float]]
    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    limit: float
    uneven: bool = False

    @classmethod
    def of(cls, train: FieldDataset, validation: FieldDataset) -> TrainingRange:
        """Measure the training samples, and calibrate the limit on the validation samples."""
        schema = train.schema
        seen = dataset_inputs(train)
        seen_std = np.nan_to_num(seen.std(0))  # NaN: statistics that these points do not have
        scale = np.maximum(seen_std, SMALLEST_SCALE * _sizes(seen))
        unscaled = cls(
            params=parameter_ranges(train),
            names=statistic_names(schema),
            mean=tuple(np.nan_to_num(seen.mean(0)).tolist()),
            scale=tuple(scale.tolist()),
            limit=1.0,
            uneven=not evenly_spaced(train),
        )
        limit = max(
            coverage_limit(unscaled.novelty(rows))
            for rows in (seen, dataset_inputs(validation))
            if len(rows)
        )
        return replace(unscaled, limit=max(limit, SMALLEST_LIMIT))

    def novelty(self, statistics: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b"]:
        """Distance of the statistics of some inputs from those of the training; 1 is the limit."""
        return self._distances(statistics).max(-1, initial=0.0)

    def most_unusual(self, statistics: Float[np.ndarray, "s"]) -> int:
        """The number of the statistic that is farthest from its training values."""
        return int(self._distances(statistics[None])[0].argmax())

    def _distances(self, statistics: np.ndarray) -> np.ndarray:
        distances = np.abs(statistics - np.array(self.mean)) / np.array(self.scale) / self.limit
        return np.nan_to_num(distances, nan=0.0)  # unknown statistics: variation without a grid

    def in_order_of(self, schema: Schema) -> TrainingRange:
        """The same range for a schema that lists the same inputs in another order."""
        names = statistic_names(schema)
        order = [self.names.index(name) for name in names]
        return replace(
            self,
            names=names,
            mean=tuple(self.mean[i] for i in order),
            scale=tuple(self.scale[i] for i in order),
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingRange:
        """Invert :meth:`to_dict`.

        Raises:
            ValueError: the lists have different lengths, or a number is not finite or positive.
        """
        mean, scale = (tuple(float(v) for v in values[key]) for key in ("mean", "scale"))
        limit = float(values["limit"])
        names = tuple(str(name) for name in values["names"])
        numbers = (*mean, *scale, limit)
        if not len(names) == len(mean) == len(scale) or not all(map(math.isfinite, numbers)):
            raise ValueError("The training range of the checkpoint is incomplete or not finite.")
        if min((*scale, limit)) <= 0:
            raise ValueError("The training range of the checkpoint has a scale below 0.")
        params = {str(k): (float(low), float(high)) for k, (low, high) in values["params"].items()}
        uneven = bool(values.get("uneven", False))
        return cls(params=params, names=names, mean=mean, scale=scale, limit=limit, uneven=uneven)


def statistic_names(schema: Schema) -> tuple[str, ...]:
    """Name the statistics in the order of `input_statistics`.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> statistic_names(schema)[:2]
        ('mean of `a`', 'standard deviation of `a`')
    """
    return tuple(f"{statistic} of `{name}`" for name in _inputs(schema) for statistic in STATISTICS)


def input_statistics(
    batch: Sample, schema: Schema, shape: Sequence[int] | None
) -> Float[np.ndarray, "b s"]:
    """Compute the statistics of the last given frame of every sample, in double precision.

    Args:
        batch: inputs in physical units.
        schema: names of the inputs; quadrature weights depend on the points and are left out.
        shape: points along each axis of a grid, None for scattered points, which have no total
            variation (NaN).

    Example:
        >>> from fields.core.sample import Schema
        >>> x, mask = torch.arange(4)[None, :, None] / 4, torch.ones(1, 4, dtype=torch.bool)
        >>> u = torch.tensor([[[0.0], [2.0], [0.0], [2.0]]])
        >>> batch = Sample(x, u, mask, x, u[None], mask, torch.zeros(1, 1), torch.zeros(1, 0))
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0, 1),), periodic=(True,))
        >>> input_statistics(batch, schema, (4,)).tolist()
        [[1.0, 1.0, 0.0, 2.0, 8.0]]
    """
    columns = [schema.inputs.index(name) for name in _inputs(schema)]
    u = batch.u[..., -len(schema.inputs) :].double()[..., columns]
    known = (batch.x_mask[..., None] & torch.isfinite(u)).expand_as(u)
    count = known.sum(1).clamp(min=1)
    values = u.where(known, 0.0)
    mean = values.sum(1) / count
    std = ((u - mean[:, None]).where(known, 0.0).square().sum(1) / count).sqrt()
    low = u.where(known, math.inf).amin(1)
    high = u.where(known, -math.inf).amax(1)
    variation = torch.full_like(mean, math.nan)
    if shape is not None and math.prod(shape) == u.shape[1]:
        variation = _variation(u.where(known, math.nan), shape, schema.periodic)
    return rearrange(torch.stack([mean, std, low, high, variation], -1), "b c s -> b (c s)").numpy()


def dataset_inputs(rows: FieldDataset) -> Float[np.ndarray, "b s"]:
    """Compute the statistics of the inputs of at most `ITEMS` items, evenly spread."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), ITEMS)).round().astype(int))
    shape = grid_shape(rows)
    found = [np.zeros((0, len(statistic_names(rows.schema))))]
    for start in range(0, len(chosen), BATCH):
        batch = collate([rows[int(i)] for i in chosen[start : start + BATCH]])
        found.append(input_statistics(batch, rows.schema, shape))
    return np.concatenate(found)


def grid_shape(rows: FieldDataset) -> tuple[int, ...] | None:
    """Points along each axis of the grid that all samples share; None for scattered points."""
    if rows.scattered or rows.sensors is not None:
        return None
    sizes = (rows.ds.sizes[name] for name in rows.schema.coords)
    strides = (rows.strides.get(name, slice(None)) for name in rows.schema.coords)
    return tuple(len(range(n)[stride]) for n, stride in zip(sizes, strides, strict=True))


def evenly_spaced(rows: FieldDataset) -> bool:
    """Whether the points along every axis of a grid are evenly spaced, up to 5 %."""
    shape = grid_shape(rows)
    for name in rows.schema.coords if shape is not None else ():
        axis = np.asarray(rows.ds[name], dtype=np.float64)[rows.strides.get(name, slice(None))]
        steps = np.diff(np.sort(axis))
        if len(steps) > 1 and np.ptp(steps) > 0.05 * steps.mean():
            return False
    return True


def parameter_ranges(rows: FieldDataset) -> dict[str, tuple[float, float]]:
    """Find the smallest and the largest value of every parameter."""
    columns = zip(rows.schema.params, rows.params.T, strict=True)
    return {name: (float(values.min()), float(values.max())) for name, values in columns}


def coverage_limit(distances: Float[np.ndarray, "b"]) -> float:
    """The distance that at least `COVERAGE` of the samples, and of a further one, do not exceed.

    Example:
        >>> coverage_limit(np.arange(1.0, 1001.0))
        991.0
    """
    ordered = np.sort(distances)
    rank = min(math.ceil(COVERAGE * (len(ordered) + 1)), len(ordered))
    return float(ordered[rank - 1])


def _variation(
    u: Float[Tensor, "b n c"], shape: Sequence[int], periodic: Sequence[bool]
) -> Float[Tensor, "b c"]:
    """Total variation along each axis, mean over the lines, summed over axes without NaN."""
    values = u.reshape(len(u), *shape, u.shape[-1])
    total = u.new_zeros(len(u), u.shape[-1])
    for axis, closed in enumerate(periodic, start=1):
        following = values.roll(-1, axis)
        if not closed:
            following = following.narrow(axis, 0, values.shape[axis] - 1)
        differences = (following - values.narrow(axis, 0, following.shape[axis])).abs()
        lines = math.prod(shape) // values.shape[axis]
        total = total + differences.nan_to_num(0.0).flatten(1, -2).sum(1) / lines
    return total


def _inputs(schema: Schema) -> tuple[str, ...]:
    return tuple(name for name in schema.inputs if name != schema.weight)


def _sizes(seen: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "s"]:
    """The size of the variable of each statistic: its root mean square, or its variation."""
    rows = seen.reshape(len(seen), -1, len(STATISTICS))
    size = np.sqrt((rows[..., 0] ** 2 + rows[..., 1] ** 2).mean(0))
    sizes = np.repeat(size[:, None], len(STATISTICS), axis=1)
    sizes[:, -1] = np.nan_to_num(rows[..., -1].mean(0))
    return np.where(sizes > 0, sizes, 1.0).reshape(-1)
