"""Torch samples over a dataset in canonical form."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from fields.core.memory_limits import available
from fields.core.sample import Sample, Schema
from fields.data.missing import FiniteCheck, MissingPlaces, check_values
from fields.data.normalizer import Normalizer
from fields.data.precision import LARGEST, working_type
from fields.data.reading import (
    ChannelRun,
    Columns,
    gather_channels,
    group_columns,
    stack_history,
)
from fields.data.schema import points_of, require, space_dims
from fields.data.storage import Storage
from fields.data.times import with_numeric_times
from fields.data.windows import Windows

# A read of samples that are to be held in memory brings about this many bytes at a time.
READ_BYTES = 2**24


class FieldDataset(Dataset[Sample]):
    """Samples of a dataset in canonical form (see `fields.io.base`): inputs, queries, targets.

    Static maps have the ``input`` variables as input and the ``output`` variables at the same
    points as targets. Evolution problems cut each trajectory of the ``state`` variables into
    :class:`~fields.data.windows.Windows`: ``history`` input frames, then ``horizon`` target frames.
    On grids all samples share one tensor of points. Data that fit into ``memory_limit`` are read
    once and held in memory; others are read window by window.

    Args:
        ds: the dataset.
        schema: what to take from it; :func:`~fields.data.schema.schema_of` derives one.
        indices: which samples; all by default.
        stride: take every stride-th point along each grid axis (and of scattered points).
        horizon: target frames per window (evolution problems); None for all that follow the first
            input frames.
        time_stride: frames of the file from one frame of a window to the next.
        window_stride: frames of the file from the beginning of one window to that of the next.
        sensors: give the input at this many random points of each sample instead of all; other
            ones in every ``epoch``.
        seed: of the sensors.
        memory_limit: bytes up to which the arrays are held in memory; by default half of what this
            process may still allocate.

    Raises:
        DataError: the dataset lacks a variable or coordinate of the schema, or a window is longer
            than every trajectory.

    Example:
        >>> u = np.zeros((2, 5, 8))
        >>> coords = {"time": np.arange(5.0), "x": np.linspace(0, 1, 8)}
        >>> ds = xr.Dataset({"u": (("sample", "time", "x"), u, {"role": "state"})}, coords)
        >>> from fields.data.schema import schema_of
        >>> data = FieldDataset(ds, schema_of(ds, history=2), horizon=1)
        >>> len(data), data[0].u.shape, data[0].v.shape
        (6, torch.Size([8, 2]), torch.Size([1, 8, 1]))
    """

    def __init__(
        self,
        ds: xr.Dataset,
        schema: Schema,
        *,
        indices: Sequence[int] | np.ndarray | None = None,
        stride: int = 1,
        horizon: int | None = 1,
        time_stride: int = 1,
        window_stride: int = 1,
        sensors: int | None = None,
        seed: int = 0,
        memory_limit: float | None = None,
    ):
        ds = with_numeric_times(ds, schema.units.get("time"))
        require(ds, schema)
        names = list(dict.fromkeys((*schema.inputs, *schema.outputs)))
        self.ds = ds[list(dict.fromkeys((*names, *schema.params)))]
        self.schema = schema
        self.indices = np.arange(ds.sizes["sample"]) if indices is None else np.asarray(indices)
        self.windows = Windows(
            ds,
            schema,
            self.indices,
            horizon=horizon,
            time_stride=time_stride,
            window_stride=window_stride,
        )
        self.sensors = sensors
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64)
        if sensors:
            self.epoch.share_memory_()  # loader processes see the epoch that the sampler sets
        space = space_dims(ds, schema)
        self.strides = {dim: slice(None, None, stride) for dim in space} if stride > 1 else {}
        self.params = self._parameters()
        self._set_points(ds)
        variables = {name: self.ds.variables[name] for name in names}
        self.groups = [
            columns.with_working_type(self.indices, self._frames_of(columns))
            for columns in group_columns(variables, space, self.strides)
        ]
        self._warn_of_double()
        self.input_runs = ChannelRun.find(self.groups, schema.inputs)
        self.target_runs = ChannelRun.find(self.groups, schema.outputs)
        self.nbytes = sum(
            np.dtype(columns.dtype).itemsize
            * len(self.indices)
            * self._frames_of(columns)
            * self.num_points
            * len(columns.names)
            for columns in self.groups
        )
        limit = available() / 2 if memory_limit is None else memory_limit
        self.in_memory = self.nbytes <= limit
        self.gaps = self._has_gaps(names)
        self._arrays = [self._load(c) for c in self.groups] if self.in_memory else None
        self._sample_points = (
            self._points_at(self.indices) if self.in_memory and self.shared_points is None else None
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, item: int) -> Sample:
        sample, first = self.locate(item)
        x = self._points(sample)
        u, v, t = self._values(sample, first)
        mask = self.point_mask
        if mask is None:
            # In the file, ragged samples are padded with NaN coordinates.
            exists = torch.isfinite(x).all(-1)
            x = x[exists]
            u = u[exists]
            v = v[:, exists]
            mask = torch.ones(len(x), dtype=torch.bool)
        y = x
        y_mask = mask
        if self.scattered:
            # Points that only carry one of several input functions may have no target.
            has_target = torch.isfinite(v).all(-1).all(0)
            if not bool(has_target.all()):
                y = x[has_target]
                v = v[:, has_target]
                y_mask = mask[has_target]
        whole = Sample(x, u, mask, y, v, y_mask, t, self.params[sample])
        whole = whole if self.scattered or not self.gaps else self._masked(whole)
        return whole if self.sensors is None else self._at_sensors(whole, item, self.sensors)

    @property
    def frames(self) -> int:
        """Frames of a trajectory in the file; 1 for static maps."""
        return self.windows.frames

    @property
    def horizon(self) -> int:
        """Target frames per window; 1 for static maps."""
        return self.windows.horizon

    def locate(self, item: int) -> tuple[int, int]:
        """The position of an item's sample among ``indices``, and the first frame of its window."""
        return self.windows.locate(item)

    def items_of(self, sample: int) -> np.ndarray:
        """The numbers of all items that come from one of ``indices``."""
        return self.windows.items_of(sample)

    def storage(self) -> Storage:
        """How the arrays are stored in the file."""
        return Storage.of(self.groups)

    def _warn_of_double(self) -> None:
        """State which variables are read in double precision, because it takes more memory."""
        double = [name for c in self.groups if c.dtype is np.float64 for name in c.names]
        if double:
            warnings.warn(
                f"Single precision would lose digits of {', '.join(double)}, which are very large, "
                "very small or vary little for their size. They are read in double precision, "
                "which takes twice the memory.",
                stacklevel=3,
            )

    def checks(self, reference: int) -> dict[str, FiniteCheck]:
        """The checks of all variables for values that are neither finite nor known to be missing.

        Args:
            reference: number of the sample whose missing values are those of all samples.
        """
        lengths = None
        if self.windows.times.ndim == 2:
            times = np.asarray(self.ds["sample_time"], dtype=np.float64)
            lengths = np.isfinite(times).sum(1)
        types = {name: columns.dtype for columns in self.groups for name in columns.names}
        return {
            str(name): FiniteCheck.of(
                str(name),
                variable.variable,
                reference=reference,
                anywhere="point" in variable.dims and self.shared_points is None,
                lengths=lengths,
                largest=LARGEST[types.get(str(name), np.float64)],
                strides=self.strides,
            )
            for name, variable in self.ds.data_vars.items()
        }

    def check_values(self, reference: int | None = None) -> None:
        """Read all values of ``indices`` once and refuse those that are not finite.

        Args:
            reference: see `checks`; by default the first of ``indices``.

        Raises:
            DataError: the message names variable, sample and index.
        """
        first = int(self.indices[0]) if reference is None else reference
        for name, check in self.checks(first).items():
            check_values(check, self.ds.variables[name], self.indices)

    def missing_places(self, normalizer: Normalizer) -> MissingPlaces | None:
        """Where inputs may be missing and outputs never have a value; None without gaps.

        Args:
            normalizer: gives the unit coordinates of the points.
        """
        if not self.gaps or self.scattered:
            return None
        checks = self.checks(int(self.indices[0]))
        sizes = [len(range(self.ds.sizes[dim])[self._stride(dim)]) for dim in self.schema.coords]

        def table(names: Sequence[str], unknown: bool) -> Tensor:
            columns = []
            for name in names:
                dims = [dim for dim in checks[name].dims if dim not in ("sample", "time")]
                order = [dims.index(dim) for dim in self.schema.coords]
                expected = checks[name].expected
                columns.append(
                    np.full(sizes, unknown) if expected is None else expected.transpose(order)
                )
            return torch.from_numpy(np.stack(columns, axis=-1))

        points = normalizer.points(cast(Tensor, self.shared_points)).reshape(*sizes, -1)
        axes = [
            points[tuple(slice(None) if b == a else 0 for b in range(len(sizes)))][:, a]
            for a in range(len(sizes))
        ]
        # Where missing values differ among samples, an input may be missing anywhere, and no point
        # is without an output in every sample.
        return MissingPlaces(
            axes,
            table(self.schema.inputs, True),
            table(self.schema.outputs, False),
            self.schema.periodic,
        )

    def _stride(self, dim: str) -> slice:
        return self.strides.get(dim, slice(None))

    def _has_gaps(self, names: Sequence[str]) -> bool:
        """Whether values are missing on the grid, by the attribute ``missing`` or the first frame.

        That the missing values of all samples are those of the first is checked with the
        statistics (see `fields.data.missing`).
        """
        if any(self.ds[name].attrs.get("missing") for name in names):
            return True
        first = [int(i) for i in self.indices[:1]]
        return any(
            bool(np.isnan(columns.read(slice(i, i + 1), slice(0, 1))).any())
            for columns in self.groups
            for i in first
        )

    def _parameters(self) -> Tensor:
        """Constants of the PDE of every sample, (b p)."""
        columns = [
            np.broadcast_to(self.ds[name].values, self.ds.sizes["sample"])[self.indices]
            for name in self.schema.params
        ]
        stacked = np.stack(columns, axis=1) if columns else np.zeros((len(self.indices), 0))
        stacked = torch.from_numpy(stacked.astype(np.float64))
        double = any(
            working_type(column, self.ds[name].dtype) is np.float64
            for name, column in zip(self.schema.params, stacked.numpy().T, strict=True)
        )
        return stacked if double else stacked.float()

    def _set_points(self, ds: xr.Dataset) -> None:
        """Notes the points that all samples share, or that every sample has points of its own."""
        self.scattered = "point" in ds.dims
        moving = self.scattered and "sample" in ds[self.schema.coords[0]].dims
        geometry = self.ds.coords.to_dataset().isel(self.strides)
        self.shared_points = None if moving else points_of(geometry, self.schema)
        self.num_points = (
            geometry.sizes["point"] if self.shared_points is None else len(self.shared_points)
        )
        self.point_mask = None if moving else torch.ones(self.num_points, dtype=torch.bool)

    def _points(self, sample: int) -> Tensor:
        """Coordinates of the points of one of ``indices``, (n d)."""
        if self.shared_points is not None:
            return self.shared_points
        if self._sample_points is not None:
            return self._sample_points[sample]
        return self._points_at(int(self.indices[sample]))

    def _points_at(self, numbers: int | np.ndarray) -> Tensor:
        """Coordinates of one or several samples of the file that have points of their own."""
        geometry = self.ds.coords.to_dataset().isel(self.strides)
        return points_of(geometry.isel(sample=numbers), self.schema)

    def _values(self, sample: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs u (n c), targets v (s n o) and their times t (s) of a window."""
        window = slice(None)
        history = 0
        t = torch.zeros(1)
        if self.schema.dt is not None:
            window = self.windows.frame_slice(first)
            history = self.schema.history
            t = torch.from_numpy(self.windows.target_times(sample, window)).float()
        arrays = self._read(sample, window)
        u = stack_history(arrays, self.input_runs, history or 1)
        v = gather_channels(arrays, self.target_runs, slice(history, None))
        return u, v, t

    def _read(self, sample: int, frames: slice) -> list[np.ndarray]:
        """By group, the values for one of ``indices``, (s n k); s = 1 without a time axis."""
        if self._arrays is not None:
            rows = [values[sample if len(values) > 1 else 0] for values in self._arrays]
            return [
                row.numpy() if columns.time_axis is None else row[frames].numpy()
                for row, columns in zip(rows, self.groups, strict=True)
            ]
        index = int(self.indices[sample])
        return [columns.read(slice(index, index + 1), frames)[0] for columns in self.groups]

    def _masked(self, sample: Sample) -> Sample:
        """The sample with its missing values masked and replaced by zeros.

        A point is missing in the input if any input is, and in the targets if any output is at any
        time. States are both, so one mask holds for the whole window.
        """
        given = torch.isfinite(sample.u).all(-1)
        wanted = torch.isfinite(sample.v).all(-1).all(0)
        if self.schema.dt is not None:
            given = wanted = given & wanted
        return sample._replace(
            u=torch.where(given[:, None], sample.u, 0.0),
            x_mask=given,
            v=torch.where(wanted[:, None], sample.v, 0.0),
            y_mask=wanted,
        )

    def _at_sensors(self, sample: Sample, item: int, sensors: int) -> Sample:
        """The sample with its input at random points only.

        They depend on (seed, epoch, item): the same in every process and after a run was resumed.
        """
        if sensors >= len(sample.x):
            return sample
        random = np.random.default_rng((self.seed, int(self.epoch), item))
        chosen = torch.from_numpy(np.sort(random.choice(len(sample.x), sensors, replace=False)))
        return sample._replace(x=sample.x[chosen], u=sample.u[chosen], x_mask=sample.x_mask[chosen])

    def _frames_of(self, columns: Columns) -> int:
        return 1 if columns.time_axis is None else self.ds.sizes["time"]

    def _load(self, columns: Columns) -> Tensor:
        """Values of all ``indices``, (b s n k), read without holding much more than them."""
        if columns.sample_axis is None:
            return torch.from_numpy(columns.read(slice(None), slice(None)).copy())
        frames = self._frames_of(columns)
        out = torch.empty(
            (len(self.indices), frames, self.num_points, len(columns.names)),
            dtype=torch.float64 if columns.dtype is np.float64 else torch.float32,
        )
        chunk = self.storage().chunk_samples
        # Whole chunks, and several where samples are small.
        at_once = chunk * max(1, READ_BYTES * len(self.indices) // max(1, self.nbytes) // chunk)
        order = np.argsort(self.indices, kind="stable")
        increasing = self.indices[order]
        ends = np.flatnonzero(np.diff(increasing // at_once)) + 1
        for group in np.split(np.arange(len(order)), ends):
            if len(group):
                low = int(increasing[group[0]])
                rows = columns.read(slice(low, int(increasing[group[-1]]) + 1), slice(None))
                out[order[group]] = torch.from_numpy(rows[increasing[group] - low])
        return out
