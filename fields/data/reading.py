"""Reading the variables of a window and arranging them as the channels of a sample.

1. `group_columns` groups the variables into `Columns`, each read with one access: a variable by
   itself, or several components of one stored vector or tensor.
2. `Columns.read` reads some samples and frames of one group, shape (b s n k).
3. `ChannelRun.find` works out once which columns make up the channels; `gather_channels` and
   `stack_history` then copy what was read into place.

Letters as in `fields.core.sample`; ``k`` counts the columns of a group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.data.precision import working_type
from fields.io.lazy import LazyArray, VectorComponent, stored_array


class Columns(NamedTuple):
    """Variables that are read together: one, or several components of one stored array.

    Everything that does not depend on the window is worked out once, so that reading a window costs
    little more than the access to the file.

    Args:
        names: of the variables, in the order of the columns.
        variable: the first of them.
        stored: the array in the file, if the variable is one as it stands; it is read directly,
            which is several times as fast as through xarray.
        order: the axes in the order sample, time, space, components.
        sample_axis, time_axis: where these axes are, None if the variable does not have them.
        strides: by axis, which entries to take.
        components: for a stored vector or tensor, the components of the variables along its
            flattened last axes; empty for a single variable.
        dtype: floating point type of the values that are read.

    Example:
        >>> variable = xr.Variable(("sample", "x"), np.arange(6.0).reshape(2, 3))
        >>> columns = Columns.of(["u"], variable, ["x"], {})
        >>> columns.read(slice(0, 1), slice(None)).shape
        (1, 1, 3, 1)
    """

    names: tuple[str, ...]
    variable: xr.Variable
    stored: LazyArray | None
    order: tuple[int, ...]
    sample_axis: int | None
    time_axis: int | None
    strides: tuple[slice, ...]
    components: list[int]
    dtype: type[np.floating] = np.float32

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        variable: xr.Variable,
        space: Sequence[str],
        strides: Mapping[str, slice],
    ) -> Columns:
        """The columns of one variable.

        Args:
            names: of the variables that the columns are for.
            variable: in canonical form.
            space: the dims that points run along.
            strides: by dim, which entries to take.
        """
        dims = [str(dim) for dim in variable.dims]
        return cls(
            names=tuple(names),
            variable=variable,
            stored=stored_array(variable),
            order=tuple(dims.index(dim) for dim in ("sample", "time", *space) if dim in dims),
            sample_axis=dims.index("sample") if "sample" in dims else None,
            time_axis=dims.index("time") if "time" in dims else None,
            strides=tuple(strides.get(dim, slice(None)) for dim in dims),
            components=[],
        )

    def with_components(self, components: Sequence[VectorComponent]) -> Columns:
        """The same, reading these components from the array that holds all of them.

        Components lie side by side in the file, so that reading all takes as long as reading one.
        """
        whole = components[0].whole()
        axes = range(len(self.order), len(whole.shape))
        return self._replace(
            stored=whole,
            order=(*self.order, *axes),
            components=[component.index for component in components],
        )

    def with_working_type(self, samples: Sequence[int] | np.ndarray, frames: int) -> Columns:
        """The same with the precision that the values need (see `fields.data.precision`).

        It is judged by the first and the last frame of a few samples.

        Args:
            samples: numbers of the samples.
            frames: number of frames.
        """
        count = len(samples)
        few = {int(samples[i]) for i in (0, count // 2, count - 1) if count}
        excerpt = self._replace(dtype=np.float64)
        found = [
            excerpt.read(slice(i, i + 1), slice(frame, frame + 1))
            for i in sorted(few)
            for frame in sorted({0, frames - 1})
        ]
        types = [
            working_type(np.stack([values[..., k] for values in found]), self.variable.dtype)
            for k in range(len(self.names))
            if found
        ]
        return self._replace(dtype=np.float64 if np.float64 in types else np.float32)

    def read(self, samples: slice, frames: slice) -> np.ndarray:
        """The values of some samples and frames, shape (b s n k).

        An axis that the variable does not have has length 1.
        """
        key = [slice(None)] * len(self.order)
        if self.sample_axis is not None:
            key[self.sample_axis] = samples
        if self.time_axis is not None:
            key[self.time_axis] = frames
        values = (
            self.variable[tuple(key)].values
            if self.stored is None
            else self.stored.read(tuple(key))
        )
        values = values[self.strides].transpose(self.order)
        values = values.astype(self.dtype, order="C", copy=False)
        lead = [
            1 if axis is None else values.shape[self.order.index(axis)]
            for axis in (self.sample_axis, self.time_axis)
        ]
        if not self.components:
            return values.reshape(*lead, -1, 1)
        count = math.prod(values.shape[len(self.strides) :])
        return values.reshape(*lead, -1, count)[..., as_slice(self.components)]


def group_columns(
    variables: Mapping[str, xr.Variable], space: Sequence[str], strides: Mapping[str, slice]
) -> list[Columns]:
    """All variables as columns; components of one stored array form one group.

    Args:
        variables: by name.
        space: the dims that points run along.
        strides: by dim, which entries to take.
    """
    families: dict[object, dict[str, VectorComponent | None]] = {}
    for name, variable in variables.items():
        stored = stored_array(variable)
        component = None if stored is None else stored.component()
        family = name if component is None else (component.family, variable.dims)
        families.setdefault(family, {})[name] = component
    groups = []
    for members in families.values():
        names = list(members)
        components = [component for component in members.values() if component is not None]
        columns = Columns.of(names, variables[names[0]], space, strides)
        groups.append(columns.with_components(components) if len(components) > 1 else columns)
    return groups


def as_slice(indices: list[int]) -> slice | list[int]:
    """The indices as a slice, which copies nothing, if they are consecutive.

    Example:
        >>> as_slice([2, 3, 4]), as_slice([0, 2])
        (slice(2, 5, None), [0, 2])
    """
    consecutive = indices == list(range(indices[0], indices[-1] + 1))
    return slice(indices[0], indices[-1] + 1) if consecutive else indices


class ChannelRun(NamedTuple):
    """Consecutive channels that come from consecutive columns of one group.

    Args:
        group: index of the `Columns`.
        timed: whether they have frames; without, the same values belong to every frame.
        columns: which columns of the group.
        channels: which channels of the sample.

    Example:
        >>> variable = xr.Variable(("sample", "x"), np.zeros((2, 3)))
        >>> groups = [Columns.of([name], variable, ["x"], {}) for name in "uv"]
        >>> [(run.group, run.channels) for run in ChannelRun.find(groups, ["v", "u"])]
        [(1, slice(0, 1, None)), (0, slice(1, 2, None))]
    """

    group: int
    timed: bool
    columns: slice
    channels: slice

    @classmethod
    def find(cls, groups: Sequence[Columns], names: Sequence[str]) -> list[ChannelRun]:
        """The fewest runs that make up the channels ``names``, in order."""
        runs: list[ChannelRun] = []
        for channel, name in enumerate(names):
            group, found = next(
                (i, columns) for i, columns in enumerate(groups) if name in columns.names
            )
            column = found.names.index(name)
            if runs and (runs[-1].group, runs[-1].columns.stop) == (group, column):
                runs[-1] = runs[-1]._replace(
                    columns=slice(runs[-1].columns.start, column + 1),
                    channels=slice(runs[-1].channels.start, channel + 1),
                )
            else:
                columns = slice(column, column + 1)
                channels = slice(channel, channel + 1)
                runs.append(cls(group, found.time_axis is not None, columns, channels))
        return runs

    def select(self, arrays: Sequence[np.ndarray], frames: slice) -> np.ndarray:
        """The values of this run, shape (s n k); s = 1 if it has no frames.

        Args:
            arrays: by group, what was read for one sample, (s n k).
            frames: which of the frames that were read.
        """
        values = arrays[self.group]
        return (values[frames] if self.timed else values)[..., self.columns]


def gather_channels(
    arrays: Sequence[np.ndarray], runs: Sequence[ChannelRun], frames: slice
) -> Tensor:
    """The channels of some frames, shape (s n c); a view of what was read if it is a single run.

    Args:
        arrays: by group, what was read for one sample, (s n k).
        runs: where the channels come from.
        frames: which of the frames that were read.
    """
    found = [run.select(arrays, frames) for run in runs]
    if len(found) == 1:
        [values] = found
        return torch.from_numpy(values if values.flags.writeable else values.copy())
    shape = (max(map(len, found)), found[0].shape[1], runs[-1].channels.stop)
    out = np.empty(shape, np.result_type(*found))
    for run, values in zip(runs, found, strict=True):
        # One column at a time: numpy copies long rows far faster than many short ones.
        for column in range(values.shape[-1]):
            out[..., run.channels.start + column] = values[..., column]
    return torch.from_numpy(out)


def stack_history(arrays: Sequence[np.ndarray], runs: Sequence[ChannelRun], history: int) -> Tensor:
    """The first ``history`` frames stacked in the channels, oldest first, shape (n (s c)).

    Channels without frames are repeated for every frame. Arguments as for `gather_channels`.
    """
    given = slice(0, history)
    if history == 1:
        return gather_channels(arrays, runs, given)[0]
    found = [run.select(arrays, given) for run in runs]
    channels = runs[-1].channels.stop
    out = np.empty((found[0].shape[1], history, channels), np.result_type(*found))
    for run, values in zip(runs, found, strict=True):
        # One column at a time, as in `gather_channels`.
        for column in range(values.shape[-1]):
            for frame in range(history):
                channel = run.channels.start + column
                out[:, frame, channel] = values[frame if run.timed else 0, :, column]
    return torch.from_numpy(out.reshape(-1, history * channels))
