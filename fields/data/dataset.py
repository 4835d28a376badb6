"""Torch samples over an opened dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from fields.core.memory_limits import available
from fields.core.sample import Sample, Schema
from fields.data.reading import (
    ChannelRun,
    Columns,
    Storage,
    gather_channels,
    group_columns,
    stack_history,
)
from fields.data.schema import points_of, require, space_dims
from fields.data.windows import Windows


class FieldDataset(Dataset[Sample]):
    """Samples of a dataset in canonical form (see ``fields.io.base``): input function, queries, targets.

    Static maps give their ``input`` variables and ask for the ``output`` variables at the same
    points. Evolution problems cut
    each trajectory of the ``state`` variables into windows: ``history`` given frames, then
    ``horizon`` wanted ones. Grids share one tensor of points among all samples. Data that fit
    ``memory_limit`` are read once and kept.

    Args:
        ds: the dataset.
        schema: what to take from it; :func:`schema_of` derives one.
        indices: which samples; all by default.
        stride: take every stride-th point along each grid axis (and of scattered points).
        horizon: wanted frames per window (evolution problems); None for all that follow the first
            given ones.
        time_stride: frames from one of a window to the next.
        window_stride: frames from the beginning of one window to that of the next.
        sensors: give the input at so many random points of each sample instead of all; other ones
            every ``epoch``.
        seed: of the sensors.
        memory_limit: bytes up to which the arrays are held in memory; by default half of what this
            process may still take.
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
        require(ds, schema)
        names = list(dict.fromkeys((*schema.inputs, *schema.outputs)))
        self.ds, self.schema = ds[list(dict.fromkeys((*names, *schema.params)))], schema
        self.indices = np.arange(ds.sizes["sample"]) if indices is None else np.asarray(indices)
        self.sensors, self.seed = sensors, seed
        self.epoch = (
            torch.zeros((), dtype=torch.int64).share_memory_()
            if sensors
            else torch.zeros((), dtype=torch.int64)
        )
        self.cut = Windows(
            ds, schema, self.indices, horizon=horizon, stride=time_stride, step=window_stride
        )
        self.frames, self.horizon, self.windows = self.cut.frames, self.cut.horizon, self.cut.most
        space = space_dims(ds, schema)
        self.thin = {dim: slice(None, None, stride) for dim in space} if stride > 1 else {}
        geometry = self.ds.coords.to_dataset().isel(self.thin)
        self.scattered = "point" in ds.dims
        moving = self.scattered and "sample" in ds[schema.coords[0]].dims
        self.shared = None if moving else points_of(geometry, schema)
        self.points = geometry.sizes["point"] if self.shared is None else len(self.shared)
        self.real = None if moving else torch.ones(self.points, dtype=torch.bool)
        constants = [
            np.broadcast_to(self.ds[n].values, ds.sizes["sample"])[self.indices]
            for n in schema.params
        ]
        self.params = torch.from_numpy(
            np.stack([np.zeros(len(self.indices)), *constants], axis=1)[:, 1:]
        ).float()
        self.columns = group_columns(
            {name: self.ds.variables[name] for name in names}, space, self.thin
        )
        self.nbytes = sum(
            4 * len(self.indices) * self._frames_of(c) * self.points * len(c.names)
            for c in self.columns
        )
        self.in_memory = self.nbytes <= (available() / 2 if memory_limit is None else memory_limit)
        self.places = (
            points_of(geometry.isel(sample=self.indices), schema)
            if moving and self.in_memory
            else None
        )
        self.held = [self._hold(columns) for columns in self.columns] if self.in_memory else None
        self.given, self.wanted = (
            ChannelRun.find(self.columns, schema.inputs),
            ChannelRun.find(self.columns, schema.outputs),
        )

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, item: int) -> Sample:
        sample, first = self.place(item)
        x, real, h = self._where(sample), self.real, self.schema.history
        if self.schema.dt is None:
            parts, t = self._parts(sample, slice(None)), torch.zeros(1)
            u, v = (
                stack_history(parts, self.given, 1),
                gather_channels(parts, self.wanted, slice(None)),
            )
        else:
            window = slice(first, first + self.cut.span, self.cut.stride)
            parts, t = (
                self._parts(sample, window),
                torch.from_numpy(self.cut.after(sample, window)).float(),
            )
            u, v = (
                stack_history(parts, self.given, h),
                gather_channels(parts, self.wanted, slice(h, None)),
            )
        if real is None:  # ragged samples are padded with NaN coordinates in the file
            there = torch.isfinite(x).all(-1)
            x, u, v = x[there], u[there], v[:, there]
            real = torch.ones(len(x), dtype=torch.bool)
        y, y_real = x, real
        if (
            self.scattered
        ):  # where one of several input functions lives there may be nothing to predict
            wanted = torch.isfinite(v).all(-1).all(0)
            y, v, y_real = (
                (x, v, real) if bool(wanted.all()) else (x[wanted], v[:, wanted], real[wanted])
            )
        whole = Sample(x, u, real, y, v, y_real, t, self.params[sample])
        return whole if self.sensors is None else self._thinned(whole, item, self.sensors)

    def place(self, item: int) -> tuple[int, int]:
        """Which of ``indices`` an item comes from, and its first frame."""
        return self.cut.place(item)

    def items(self, sample: int) -> np.ndarray:
        """All items that come from one of ``indices``."""
        return np.arange(self.cut.starts[sample], self.cut.starts[sample + 1])

    def storage(self) -> Storage:
        """How the arrays lie in the file."""
        return Storage.of(self.columns)

    def _where(self, sample: int) -> Tensor:
        if self.shared is not None:
            return self.shared
        if self.places is not None:
            return self.places[sample]
        return points_of(
            self.ds.coords.to_dataset().isel(self.thin).isel(sample=int(self.indices[sample])),
            self.schema,
        )

    def _thinned(self, sample: Sample, item: int, sensors: int) -> Sample:
        """The input at random points from (seed, epoch, item): the same in every process, and after a run was resumed."""
        if sensors >= len(sample.x):
            return sample
        random = np.random.default_rng((self.seed, int(self.epoch), item))
        chosen = torch.from_numpy(np.sort(random.choice(len(sample.x), sensors, replace=False)))
        return sample._replace(x=sample.x[chosen], u=sample.u[chosen], x_mask=sample.x_mask[chosen])

    def _parts(self, sample: int, frames: slice) -> list[np.ndarray]:
        """(s n k) values of all columns for one of ``indices``; of what has no time, s = 1."""
        if self.held is not None:
            rows = [values[sample if len(values) > 1 else 0] for values in self.held]
            return [
                v.numpy() if c.time is None else v[frames].numpy()
                for v, c in zip(rows, self.columns, strict=True)
            ]
        index = int(self.indices[sample])
        return [columns.read(slice(index, index + 1), frames)[0] for columns in self.columns]

    def _frames_of(self, columns: Columns) -> int:
        return 1 if columns.time is None else self.ds.sizes["time"]

    def _hold(self, columns: Columns) -> Tensor:
        """(b s n k) values of all ``indices``, read without ever having much more than them in memory."""
        if columns.sample is None:
            return torch.from_numpy(columns.read(slice(None), slice(None)).copy())
        out = torch.empty(
            len(self.indices), self._frames_of(columns), self.points, len(columns.names)
        )
        order = np.argsort(self.indices, kind="stable")
        increasing = self.indices[order]
        for group in np.split(
            np.arange(len(order)), np.flatnonzero(np.diff(increasing // self._together())) + 1
        ):
            if len(group):
                low = int(increasing[group[0]])
                rows = columns.read(slice(low, int(increasing[group[-1]]) + 1), slice(None))
                out[order[group]] = torch.from_numpy(rows[increasing[group] - low])
        return out

    def _together(self) -> int:
        """How many samples to read at once: those of a chunk, and more where samples are small."""
        chunk = self.storage().samples
        return chunk * max(1, 2**24 * len(self.indices) // max(1, self.nbytes) // chunk)
