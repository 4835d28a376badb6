r"""From the numbers in a data file to the statistics that a model is normalized with.

The chain in the order in which it runs. `training_statistics` composes steps 1 to 3, and
:class:`~fields.data.normalizer.Normalizer` runs steps 4 and 5 when it is constructed.

1. `RunningStatistics` accumulates count, mean, variance and extremes of one variable, chunk by
   chunk (:func:`~fields.data.chunks.iter_chunks`).
2. `compute_statistics` turns them into the :class:`~fields.data.scaling.Statistics` of the
   variable, and `dataset_statistics` does so for every variable of the training samples.
3. :func:`~fields.data.statistics_cache.cached_statistics` stores the result beside the data file
   and reads it from there as long as the file does not change.
4. The :class:`~fields.data.scaling.Scaling` of a variable fits a map to its statistics, an
   :class:`~fields.data.scaling.AffineMap`.
5. :class:`~fields.data.normalizer.Normalizer` holds the maps of all variables as buffers of the
   model and applies them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fields.core.distributed import broadcast, rank_and_size
from fields.data.chunks import iter_chunks
from fields.data.dataset import FieldDataset
from fields.data.missing import FiniteCheck
from fields.data.scaling import Log, Scaling, Standard, Statistics
from fields.data.statistics_cache import cached_statistics
from fields.io.base import DataError

# At most this many values of a parameter get statistics of their own; beyond it, neighboring values
# are merged.
MAX_GROUPS = 32


class RunningStatistics(NamedTuple):
    r"""Count, mean, sum of squared deviations and extremes of the finite numbers seen so far.

        n = n₁ + n₂,  δ = m₂ − m₁,  m = m₁ + δ n₂/n,  S = S₁ + S₂ + δ² n₁ n₂/n,    S = Σ(x − m)²

    Merging is exact in exact arithmetic, and in float64 it avoids the cancellation of
    Σx² − (Σx)²/n.

    Reference: Chan, Golub & LeVeque, The American Statistician 37 (1983), eq. 2.1.

    Args:
        count: how many numbers n.
        mean: m.
        deviations: S, the sum of squared deviations from the mean.
        low, high: extremes.

    Example:
        >>> first = RunningStatistics.of(np.array([1.0, 2.0, np.nan]))
        >>> merged = first.merge(RunningStatistics.of(np.array([6.0])))
        >>> merged.count, merged.mean, merged.high
        (3, 3.0, 6.0)
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: np.ndarray) -> RunningStatistics:
        """Statistics of an array; NaN and infinities (land, padding) are skipped."""
        values = np.asarray(values).ravel()
        if not values.size:
            return cls()
        low = float(values.min())
        high = float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            # A number that is not finite shows in the extremes, so the common case needs no mask.
            return cls.of(values[np.isfinite(values)])
        centered = values.astype(np.float64)
        mean = float(centered.mean())
        centered -= mean
        return cls(values.size, mean, float(centered @ centered), low, high)

    def merge(self, other: RunningStatistics) -> RunningStatistics:
        """Statistics of the numbers of both."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        return RunningStatistics(
            count,
            self.mean + delta * other.count / count,
            self.deviations + other.deviations + delta**2 * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def std(self) -> float:
        """Standard deviation √(S/n), NaN if there are no numbers."""
        return math.sqrt(self.deviations / self.count) if self.count else math.nan


def compute_statistics(
    variable: xr.Variable,
    indices: np.ndarray,
    *,
    scaling: Scaling,
    parameter: np.ndarray | None = None,
    strides: Mapping[str, slice] | None = None,
    check: FiniteCheck | None = None,
) -> Statistics:
    """Statistics of one variable over some samples; every stored chunk is read once.

    Args:
        variable: lazy or in memory.
        indices: numbers of the samples.
        scaling: what the statistics are for. Statistics of the logarithm are only computed for
            :class:`~fields.data.scaling.Log`.
        parameter: its value for every sample of the file, if the samples are to be grouped by it.
        strides: by dim, which entries count; all by default.
        check: of the values, which are read here anyway.
    """
    slices = tuple((strides or {}).get(str(dim), slice(None)) for dim in variable.dims)
    total = RunningStatistics()
    logarithm = RunningStatistics()
    by_value: defaultdict[float, RunningStatistics] = defaultdict(RunningStatistics)
    for numbers, first, values in iter_chunks(variable, np.unique(indices)):
        values = values[slices]
        found = RunningStatistics.of(values)
        if check is not None and not (
            check.complete
            and found.count == values.size
            and max(-found.low, found.high) <= check.largest
        ):
            check(numbers, first, values)
        total = total.merge(found)
        if isinstance(scaling, Log):
            # The scaling refuses values that have no logarithm when it is fitted.
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(np.asarray(values, np.float64))
            logarithm = logarithm.merge(RunningStatistics.of(logs))
        if parameter is not None and len(numbers):
            rows = np.moveaxis(values, variable.dims.index("sample"), 0)
            for number, row in zip(numbers, rows, strict=True):
                value = float(parameter[number])
                by_value[value] = by_value[value].merge(RunningStatistics.of(row))
    return Statistics(
        mean=total.mean,
        std=total.std,
        low=total.low,
        high=total.high,
        log_mean=logarithm.mean,
        log_std=logarithm.std,
        groups=_groups(by_value),
        scaling=scaling,
    )


def dataset_statistics(
    data: FieldDataset, scalings: Mapping[str, Scaling] | None = None
) -> dict[str, Statistics]:
    """Statistics of every variable over the samples of ``data``, in physical units and float64.

    Args:
        data: the training samples.
        scalings: by variable; :class:`~fields.data.scaling.Standard` for the others.

    Raises:
        DataError: a scaling groups the samples by a parameter that the data do not have, or a value
            is neither finite nor known to be missing (see `fields.data.missing`).

    Example:
        >>> from fields.data.schema import schema_of
        >>> values = np.array([[1.0, 3.0], [5.0, 7.0]])
        >>> a, u = ((("sample", "x"), values, {"role": role}) for role in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0]})
        >>> dataset_statistics(FieldDataset(ds, schema_of(ds)))["a"].mean
        4.0
    """
    result = {}
    checks = data.checks(int(data.indices[0])) if len(data.indices) else {}
    for name in dict.fromkeys((*data.schema.inputs, *data.schema.outputs, *data.schema.params)):
        scaling = (scalings or {}).get(name, Standard())
        parameter = None
        if scaling.by:
            if scaling.by not in data.schema.params:
                raise DataError(
                    f"{name!r} cannot be scaled by {scaling.by!r}: the parameters of these data are"
                    f" {list(data.schema.params)}. Name one of them in the scaling of {name!r}."
                )
            parameter = np.broadcast_to(data.ds[scaling.by].values, data.ds.sizes["sample"])
        result[name] = compute_statistics(
            data.ds.variables[name],
            data.indices,
            scaling=scaling,
            parameter=parameter,
            strides=data.strides,
            check=checks.get(name),
        )
    return result


def training_statistics(
    data: FieldDataset,
    path: Path,
    selection: Any,
    scalings: Mapping[str, Scaling],
    check: Callable[[], None] = lambda: None,
) -> dict[str, Statistics]:
    """Statistics of the training samples, cached beside the file and the same in every process.

    The main process reads them from the cache or computes them, and broadcasts them to the others.

    Args:
        data: the training samples.
        path: the data file.
        selection: what the statistics depend on besides the file and the scalings: variables,
            samples, strides; plain values and arrays.
        scalings: by variable, see `dataset_statistics`.
        check: called when the statistics are computed, to check the values of the other splits.
    """

    def compute() -> dict[str, Statistics]:
        result = dataset_statistics(data, scalings)
        check()
        return result

    statistics: Any = None
    if rank_and_size()[0] == 0:
        statistics = cached_statistics(path, selection, scalings, compute)
    return broadcast(statistics)


def _groups(
    by_value: Mapping[float, RunningStatistics],
) -> tuple[tuple[float, float, float], ...]:
    """(value of the parameter, mean, std) by increasing value, at most `MAX_GROUPS` of them."""
    if not by_value:
        return ()
    values = np.array(sorted(by_value))
    result = []
    for neighbors in np.array_split(values, min(MAX_GROUPS, len(values))):
        merged = RunningStatistics()
        for value in neighbors:
            merged = merged.merge(by_value[float(value)])
        result.append((float(neighbors.mean()), merged.mean, merged.std))
    return tuple(result)
