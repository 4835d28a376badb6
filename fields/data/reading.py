"""Channels of a sample put together from the parts that were read for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.io.concatenated import ConcatenatedArray
from fields.io.lazy import Component, LazyArray, stored_array


class ChannelRun(NamedTuple):
    """Channels that come from neighboring columns of one part of what was read; ``timed`` if that has frames."""

    part: int
    timed: bool
    columns: slice
    channels: slice

    @classmethod
    def find(cls, parts: Sequence[Columns], names: Sequence[str]) -> list[ChannelRun]:
        """Where the channels ``names`` come from."""
        runs: list[ChannelRun] = []
        for channel, name in enumerate(names):
            part, found = next(
                (i, columns) for i, columns in enumerate(parts) if name in columns.names
            )
            column, last = found.names.index(name), runs[-1] if runs else None
            if last is not None and (last.part, last.columns.stop) == (part, column):
                runs[-1] = last._replace(
                    columns=slice(last.columns.start, column + 1),
                    channels=slice(last.channels.start, channel + 1),
                )
            else:
                runs.append(
                    cls(
                        part,
                        found.time is not None,
                        slice(column, column + 1),
                        slice(channel, channel + 1),
                    )
                )
        return runs

    def of(self, parts: Sequence[np.ndarray], frames: slice) -> np.ndarray:
        """(s n k) values; what has no frames stands beside every one of them."""
        values = parts[self.part]
        return (values[frames] if self.timed else values)[..., self.columns]


def gather_channels(
    parts: Sequence[np.ndarray], runs: Sequence[ChannelRun], frames: slice
) -> Tensor:
    """(s n c) from parts (s n k); a view of what was read if it is one run of it."""
    found = [run.of(parts, frames) for run in runs]
    if len(found) == 1:
        return _tensor(found[0])
    out = np.empty((max(map(len, found)), found[0].shape[1], runs[-1].channels.stop), np.float32)
    for run, values in zip(runs, found, strict=True):
        for column in range(
            values.shape[-1]
        ):  # one at a time: numpy copies long rows far faster than many short ones
            out[..., run.channels.start + column] = values[..., column]
    return torch.from_numpy(out)


def stack_history(parts: Sequence[np.ndarray], runs: Sequence[ChannelRun], history: int) -> Tensor:
    """(n (s c)) of the first frames, the oldest first."""
    channels, given = runs[-1].channels.stop, slice(0, history)
    if history == 1:
        return gather_channels(parts, runs, given)[0]
    found = [run.of(parts, given) for run in runs]
    out = np.empty((found[0].shape[1], history, channels), np.float32)
    for run, values in zip(runs, found, strict=True):
        for column in range(values.shape[-1]):  # one at a time, as above
            for frame in range(history):
                out[:, frame, run.channels.start + column] = values[
                    frame if run.timed else 0, :, column
                ]
    return torch.from_numpy(out.reshape(-1, history * channels))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())


class Columns(NamedTuple):
    """Variables that are read together: one, or several components of one stored vector or tensor.

    ``order`` brings the axes to sample, time, space; ``thin`` takes every stride-th point;
    ``parts`` are the components, along axes that follow. Worked out once, so that a window costs
    little more than its reading.
    """

    names: tuple[str, ...]
    variable: xr.Variable
    stored: LazyArray | None
    order: tuple[int, ...]
    sample: int | None
    time: int | None
    thin: tuple[slice, ...]
    parts: list[int]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        variable: xr.Variable,
        space: Sequence[str],
        thin: Mapping[str, slice],
    ) -> Columns:
        """Those of a variable over points that run along the dims ``space``."""
        dims = list(map(str, variable.dims))
        order = tuple(dims.index(dim) for dim in ("sample", "time", *space) if dim in dims)
        sample, time = (dims.index(dim) if dim in dims else None for dim in ("sample", "time"))
        cut = tuple(thin.get(dim, slice(None)) for dim in dims)
        return cls(tuple(names), variable, stored_array(variable), order, sample, time, cut, [])

    def together(self, components: Sequence[Component]) -> Columns:
        """The same axes of the array that has all components; read at once it takes as long as one of them."""
        whole = components[0].whole()
        axes = range(len(self.order), len(whole.shape))
        return self._replace(
            stored=whole, order=(*self.order, *axes), parts=[c.index for c in components]
        )

    def read(self, samples: slice, frames: slice) -> np.ndarray:
        """(b s n k) values; from the file itself where that is possible, which is several times as fast as xarray."""
        key = [slice(None)] * len(self.order)
        if self.sample is not None:
            key[self.sample] = samples
        if self.time is not None:
            key[self.time] = frames
        values = (
            self.variable[tuple(key)].values
            if self.stored is None
            else self.stored.read(tuple(key))
        )
        values = values[self.thin].transpose(self.order).astype(np.float32, order="C", copy=False)
        lead = [
            1 if axis is None else values.shape[self.order.index(axis)]
            for axis in (self.sample, self.time)
        ]
        if not self.parts:
            return values.reshape(*lead, -1, 1)
        count = math.prod(values.shape[len(self.thin) :])
        return values.reshape(*lead, -1, count)[..., as_slice(self.parts)]


def group_columns(
    variables: Mapping[str, xr.Variable], space: Sequence[str], thin: Mapping[str, slice]
) -> list[Columns]:
    """All variables, those next to each other that are components of one stored array."""
    families: dict[object, dict[str, Component | None]] = {}
    for name, variable in variables.items():
        stored = stored_array(variable)
        found = stored.component() if stored is not None else None
        families.setdefault(name if found is None else (found.family, variable.dims), {})[name] = (
            found
        )
    result = []
    for members in families.values():
        names, components = list(members), [c for c in members.values() if c is not None]
        alone = Columns.of(names, variables[names[0]], space, thin)
        result.append(alone.together(components) if len(components) > 1 else alone)
    return result


def as_slice(places: list[int]) -> slice | list[int]:
    """A slice, which copies nothing, if the places follow each other."""
    return (
        slice(places[0], places[-1] + 1)
        if places == list(range(places[0], places[-1] + 1))
        else places
    )


class Storage(NamedTuple):
    """How arrays lie in a file: samples and frames that share a chunk, bytes of a frame, arrays, whether they are in many parts."""

    samples: int
    frames: int
    frame_bytes: int
    arrays: int
    joined: bool

    @classmethod
    def of(cls, columns: Iterable[Columns]) -> Storage:
        """Of those columns that are read from a file and differ among samples; the largest chunks count."""
        samples, frames, size, arrays = [1], [1], [1], []
        for column in columns:
            if column.stored is not None and column.sample is not None:
                arrays.append(column.stored)
                samples.append(column.stored.chunks[column.sample])
                frames.append(1 if column.time is None else column.stored.chunks[column.time])
                long = column.stored.shape[column.sample] * (
                    1 if column.time is None else column.stored.shape[column.time]
                )
                size.append(
                    math.prod(column.stored.shape) * column.stored.dtype.itemsize // max(long, 1)
                )
        joined = any(isinstance(array, ConcatenatedArray) for array in arrays)
        return cls(max(samples), max(frames), max(size), max(1, len(arrays)), joined)
