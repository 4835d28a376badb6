"""Variables of a dataset as columns of samples: how their axes lie in the file, and windows of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fields.io import stored_array
from fields.io.lazy import JoinedArray, LazyArray

if TYPE_CHECKING:
    import xarray as xr


class Column(NamedTuple):
    """One variable and how its axes lie: ``order`` brings them to sample, time, space; ``thin`` takes every stride-th point.

    Worked out once, so that a window costs little more than its reading.
    """

    variable: xr.Variable
    stored: LazyArray | None
    order: tuple[int, ...]
    sample: int | None
    time: int | None
    thin: tuple[slice, ...]

    @classmethod
    def of(cls, variable: xr.Variable, space: Sequence[str], thin: Mapping[str, slice]) -> Column:
        """The column of a variable over points that run along the dims ``space``."""
        dims = list(map(str, variable.dims))
        order = tuple(dims.index(dim) for dim in ("sample", "time", *space) if dim in dims)
        sample, time = (dims.index(dim) if dim in dims else None for dim in ("sample", "time"))
        return cls(variable, stored_array(variable), order, sample, time, tuple(thin.get(dim, slice(None)) for dim in dims))

    def read(self, samples: slice, frames: slice) -> np.ndarray:
        """(b s n) values; from the file itself where that is possible, which is several times as fast as xarray."""
        key = [slice(None)] * len(self.order)
        if self.sample is not None:
            key[self.sample] = samples
        if self.time is not None:
            key[self.time] = frames
        values = self.variable[tuple(key)].values if self.stored is None else self.stored.read(tuple(key))
        values = values[self.thin].transpose(self.order).astype(np.float32, order="C", copy=False)
        lead = [1 if axis is None else values.shape[self.order.index(axis)] for axis in (self.sample, self.time)]
        return values.reshape(*lead, -1)


class Storage(NamedTuple):
    """How arrays lie in a file: samples and frames that share a chunk, bytes of a frame, arrays, whether they are in many parts."""

    samples: int
    frames: int
    frame_bytes: int
    arrays: int
    joined: bool

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Storage:
        """Of those columns that are read from a file and differ among samples; the largest chunks count."""
        samples, frames, size, arrays = [1], [1], [1], []
        for column in columns:
            if column.stored is not None and column.sample is not None:
                arrays.append(column.stored)
                samples.append(column.stored.chunks[column.sample])
                frames.append(1 if column.time is None else column.stored.chunks[column.time])
                long = column.stored.shape[column.sample] * (1 if column.time is None else column.stored.shape[column.time])
                size.append(math.prod(column.stored.shape) * column.stored.dtype.itemsize // max(long, 1))
        joined = any(isinstance(array, JoinedArray) for array in arrays)
        return cls(max(samples), max(frames), max(size), max(1, len(arrays)), joined)


def places(columns: list[str], names: Sequence[str]) -> slice | list[int]:
    """Where names are among the columns: a slice, which copies nothing, if they are neighbours."""
    found = [columns.index(name) for name in names]
    return slice(found[0], found[-1] + 1) if found == list(range(found[0], found[-1] + 1)) else found
