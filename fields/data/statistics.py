r"""Statistics of numbers that never are in memory together.

    n = n₁ + n₂,  δ = m₂ − m₁,  m = m₁ + δ n₂/n,  S = S₁ + S₂ + δ² n₁ n₂/n      (S = Σ(x − m)²)

The merge is exact in exact arithmetic and loses nothing to cancellation in float64, which Σx² −
(Σx)²/n does.

Reference: Chan, Golub & LeVeque, The American Statistician 37 (1983).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fields.data.scaling import Log, Scaling, Statistics
from fields.io.lazy import stored_array

if TYPE_CHECKING:
    import xarray as xr

PIECE = 4 * 2**20  # bytes read at once: what is computed from them stays in the processor's cache

GROUPS = 32  # values of a parameter that get statistics of their own; of more, neighbors share


class RunningStatistics(NamedTuple):
    """Count, mean, Σ(x − mean)² and extremes of the finite numbers seen."""

    count: int = 0
    mean: float = 0.0
    square: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: np.ndarray) -> RunningStatistics:
        """Of an array; what is not finite (land, padding) does not count."""
        values = np.asarray(values).ravel()
        low, high = (
            (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)
        )
        if not (
            math.isfinite(low) and math.isfinite(high)
        ):  # NaN and infinities show in the extremes
            values = values[np.isfinite(values)]
            if not values.size:
                return cls()
            low, high = float(values.min()), float(values.max())
        apart = values.astype(np.float64)
        mean = float(apart.mean())
        apart -= mean
        return cls(values.size, mean, float(apart @ apart), low, high)

    def __or__(self, other: RunningStatistics) -> RunningStatistics:
        """Of both together."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        square = self.square + other.square + delta**2 * self.count * other.count / count
        return RunningStatistics(
            count, mean, square, min(self.low, other.low), max(self.high, other.high)
        )

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.square / self.count) if self.count else math.nan


def compute_statistics(
    variable: xr.Variable,
    indices: np.ndarray,
    scaling: Scaling,
    by: np.ndarray | None,
    thin: dict[str, slice],
) -> Statistics:
    """Statistics of a variable over some samples, read once.

    Args:
        variable: lazy or in memory.
        indices: the samples.
        scaling: what the statistics are for.
        by: value of the parameter that splits the samples, for every sample of the file, if the
            scaling asks for one.
        thin: by dim, which entries count.
    """
    whole, logarithm, apart = RunningStatistics(), RunningStatistics(), {}
    for numbers, _, values in iter_chunks(variable, np.unique(indices)):
        values = values[tuple(thin.get(str(dim), slice(None)) for dim in variable.dims)]
        whole |= RunningStatistics.of(values)
        if isinstance(scaling, Log):
            with np.errstate(
                divide="ignore", invalid="ignore"
            ):  # 0 and negative numbers are refused when the map is made
                logarithm |= RunningStatistics.of(np.log(np.asarray(values, np.float64)))
        if by is not None and len(numbers):
            for number, row in zip(numbers, values, strict=True):
                apart[float(by[number])] = apart.get(
                    float(by[number]), RunningStatistics()
                ) | RunningStatistics.of(row)
    return Statistics(
        mean=whole.mean,
        std=whole.std,
        low=whole.low,
        high=whole.high,
        log_mean=logarithm.mean,
        log_std=logarithm.std,
        groups=_groups(apart),
        scaling=scaling,
    )


def not_finite(variable: xr.Variable) -> dict[str, int] | None:
    """A place where there is no number, by dim; None if there are numbers everywhere."""
    if variable.dtype.kind not in "fc":
        return None
    for numbers, first, values in iter_chunks(variable, np.arange(variable.sizes.get("sample", 0))):
        bad = ~np.isfinite(values)
        if bad.any():
            place = dict(
                zip(map(str, variable.dims), (int(i) for i in np.argwhere(bad)[0]), strict=True)
            )
            start = {"sample": int(numbers[0]) if len(numbers) else 0, "time": first}
            return {dim: i + start.get(dim, 0) for dim, i in place.items()}
    return None


def iter_chunks(
    variable: xr.Variable, indices: Sequence[int] | np.ndarray
) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """(sample numbers, first frame, values) of increasing samples: every chunk is read once, few bytes are held at a time.

    A variable without samples comes as a whole, with no numbers; a long trajectory comes in several
    runs of frames.
    """
    stored, indices = stored_array(variable), np.asarray(indices)
    chunks = dict(
        zip(
            variable.dims,
            stored.chunks if stored is not None else (1,) * variable.ndim,
            strict=True,
        )
    )
    if "sample" not in variable.dims:
        yield np.zeros(0, int), 0, np.asarray(variable.values)
        return
    size = variable.dtype.itemsize * math.prod(variable.shape) / variable.sizes["sample"]
    together = chunks["sample"] * max(1, int(PIECE / max(size, 1)) // chunks["sample"])
    frames = variable.sizes.get("time", 1)
    run = max(1, int(PIECE / max(size * together / frames, 1)))
    run = max(run // chunks.get("time", 1), 1) * chunks.get("time", 1)
    for group in np.split(indices, np.flatnonzero(np.diff(indices // together)) + 1):
        for first in range(0, frames, run):
            window = {
                "sample": slice(int(group[0]), int(group[-1]) + 1),
                "time": slice(first, first + run),
            }
            key = tuple(window.get(str(dim), slice(None)) for dim in variable.dims)
            values = variable[key].values if stored is None else stored.read(key)
            yield group, first, values[group - group[0]] if len(values) != len(group) else values


def _groups(apart: dict[float, RunningStatistics]) -> tuple[tuple[float, float, float], ...]:
    """By increasing value of the parameter; where there are many values, neighbors are merged."""
    values = np.array(sorted(apart))
    result = []
    for part in np.array_split(values, min(GROUPS, len(values))) if len(values) else []:
        merged = RunningStatistics()
        for value in part:
            merged |= apart[float(value)]
        result.append((float(part.mean()), merged.mean, merged.std))
    return tuple(result)
