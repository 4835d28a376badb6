"""Torch samples over an opened dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from fields.columns import Column, Storage, places
from fields.io import SPLITS, DataError
from fields.memory import available
from fields.moments import measure
from fields.sample import Sample, Schema
from fields.scaling import Scaling, Standard, Statistics


class FieldDataset(Dataset[Sample]):
    """Samples of a dataset in canonical form (see ``fields.io.base``): input function, queries, targets.

    Static maps give their ``input`` variables and ask for the ``output`` variables at the same points. Evolution problems cut
    each trajectory of the ``state`` variables into windows: ``history`` given frames, then ``horizon`` wanted ones.
    Grids share one tensor of points among all samples. Data that fit ``memory_limit`` are read once and kept.

    Args:
        ds: the dataset.
        schema: what to take from it; :func:`schema_of` derives one.
        indices: which samples; all by default.
        stride: take every stride-th point along each grid axis (and of scattered points).
        horizon: wanted frames per window (evolution problems); None for all that follow the first given ones.
        time_stride: frames from one of a window to the next.
        window_stride: frames from the beginning of one window to that of the next.
        sensors: give the input at so many random points of each sample instead of all; other ones every ``epoch``.
        seed: of the sensors.
        memory_limit: bytes up to which the arrays are held in memory; by default half of what this process may still take.
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
        self.ds, self.schema = ds[list(dict.fromkeys((*schema.inputs, *schema.outputs, *schema.params)))], schema
        self.indices = np.arange(ds.sizes["sample"]) if indices is None else np.asarray(indices)
        self.thin = {dim: slice(None, None, stride) for dim in space_dims(ds, schema)} if stride > 1 else {}
        self.time_stride, self.window_stride, self.sensors, self.seed = time_stride, window_stride, sensors, seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_() if sensors else torch.zeros((), dtype=torch.int64)
        self._cut(horizon)
        geometry = self.ds.coords.to_dataset().isel(self.thin)
        moving = "point" in ds.dims and "sample" in ds[schema.coords[0]].dims
        self.shared = None if moving else points_of(geometry, schema)
        constants = [np.broadcast_to(self.ds[n].values, ds.sizes["sample"])[self.indices] for n in schema.params]
        self.params = torch.from_numpy(np.stack([np.zeros(len(self.indices)), *constants], axis=1)[:, 1:]).float()
        names, space = list(dict.fromkeys((*schema.inputs, *schema.outputs))), space_dims(ds, schema)
        self.columns = {name: Column.of(self.ds.variables[name], space, self.thin) for name in names}
        self.given, self.wanted = places(names, schema.inputs), places(names, schema.outputs)
        self.scattered = "point" in ds.dims
        self.real = None if moving else torch.ones(self._points(), dtype=torch.bool)
        self.nbytes = 4 * len(self.indices) * self.frames * self._points() * len(self.columns)
        self.in_memory = self.nbytes <= (available() / 2 if memory_limit is None else memory_limit)
        self.places = points_of(geometry.isel(sample=self.indices), schema) if moving and self.in_memory else None
        self.held = self._hold() if self.in_memory else None

    def _cut(self, horizon: int | None) -> None:
        """Windows: how many each trajectory has, and the number of the first of each."""
        schema, ds, samples = self.schema, self.ds, len(self.indices)
        evolves = schema.dt is not None
        self.frames = ds.sizes.get("time", 1) if evolves else 1
        self.times = np.asarray(ds["sample_time" if "sample_time" in ds else "time"], dtype=np.float64) if evolves else np.zeros(1)
        lengths = np.full(samples, self.frames)
        if self.times.ndim == 2:  # trajectories that end early are filled up with NaN
            lengths = np.isfinite(self.times[self.indices]).sum(1)
        shortest = -(-int(lengths.min(initial=self.frames)) // self.time_stride)
        self.horizon = max(shortest - schema.history, 1) if horizon is None else horizon
        self.span = (schema.history + self.horizon - 1) * self.time_stride + 1 if evolves else 1
        counts = np.maximum((lengths - self.span) // self.window_stride + 1, 0)
        self.windows = int(counts.max(initial=0 if self.frames < self.span else 1))
        if self.windows < 1:
            apart = f", {self.time_stride} frames apart," if self.time_stride > 1 else ""
            raise DataError(
                f"A window of {schema.history} given and {self.horizon} wanted frames{apart} is longer than the {self.frames} "
                "frames stored. Shorten the history or the horizon."
            )
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def _points(self) -> int:
        if self.shared is not None:
            return len(self.shared)
        return -(-self.ds.sizes["point"] // self.thin["point"].step) if self.thin else self.ds.sizes["point"]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, item: int) -> Sample:
        sample, first = self.place(item)
        x, real, h = self._where(sample), self.real, self.schema.history
        if self.schema.dt is None:
            rows, t = self._frames(sample, slice(None)), torch.zeros(1)
            u, v = rows[0][:, self.given], rows[:, :, self.wanted]
        else:
            window = slice(first, first + self.span, self.time_stride)
            rows = self._frames(sample, window)
            u, v = rearrange(rows[:h][..., self.given], "s n c -> n (s c)"), rows[h:][..., self.wanted]
            times = (self.times[self.indices[sample]] if self.times.ndim == 2 else self.times)[window]
            t = torch.from_numpy(times[h:] - times[h - 1]).float()
        if real is None:  # ragged samples are padded with NaN coordinates in the file
            there = torch.isfinite(x).all(-1)
            x, u, v = x[there], u[there], v[:, there]
            real = torch.ones(len(x), dtype=torch.bool)
        y, y_real = x, real
        if self.scattered:  # where one of several input functions lives there may be nothing to predict
            wanted = torch.isfinite(v).all(-1).all(0)
            y, v, y_real = (x, v, real) if bool(wanted.all()) else (x[wanted], v[:, wanted], real[wanted])
        whole = Sample(x, u, real, y, v, y_real, t, self.params[sample])
        return whole if self.sensors is None else self._thinned(whole, item, self.sensors)

    def place(self, item: int) -> tuple[int, int]:
        """Which of ``indices`` an item comes from, and its first frame."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        item %= len(self)
        sample = int(np.searchsorted(self.starts, item, side="right")) - 1
        return sample, (item - int(self.starts[sample])) * self.window_stride

    def items(self, sample: int) -> np.ndarray:
        """All items that come from one of ``indices``."""
        return np.arange(self.starts[sample], self.starts[sample + 1])

    def storage(self) -> Storage:
        """How the arrays lie in the file."""
        return Storage.of(self.columns.values())

    def _where(self, sample: int) -> Tensor:
        if self.shared is not None:
            return self.shared
        if self.places is not None:
            return self.places[sample]
        return points_of(self.ds.coords.to_dataset().isel(self.thin).isel(sample=int(self.indices[sample])), self.schema)

    def _thinned(self, sample: Sample, item: int, sensors: int) -> Sample:
        """The input at random points from (seed, epoch, item): the same in every process, and after a run was resumed."""
        if sensors >= len(sample.x):
            return sample
        random = np.random.default_rng((self.seed, int(self.epoch), item))
        chosen = torch.from_numpy(np.sort(random.choice(len(sample.x), sensors, replace=False)))
        return sample._replace(x=sample.x[chosen], u=sample.u[chosen], x_mask=sample.x_mask[chosen])

    def _frames(self, sample: int, frames: slice) -> Tensor:
        """(s n c) values of all variables for one of ``indices``."""
        if self.held is not None:
            return self.held[sample, frames]
        index = int(self.indices[sample])
        return self._read(slice(index, index + 1), frames)[0]

    def _hold(self) -> Tensor:
        """(b s n c) values of all ``indices``, read without ever having much more than them in memory."""
        out = torch.empty(len(self.indices), self.frames, self._points(), len(self.columns))
        order = np.argsort(self.indices, kind="stable")
        increasing = self.indices[order]
        for group in np.split(np.arange(len(order)), np.flatnonzero(np.diff(increasing // self._together())) + 1):
            if len(group):
                low = int(increasing[group[0]])
                rows = self._read(slice(low, int(increasing[group[-1]]) + 1), slice(None))
                out[order[group]] = rows[increasing[group] - low]
        return out

    def _together(self) -> int:
        """How many samples to read at once: those of a chunk, and more where samples are small."""
        chunk = self.storage().samples
        return chunk * max(1, 2**24 // max(1, 4 * self.frames * self._points() * len(self.columns)) // chunk)

    def _read(self, samples: slice, frames: slice) -> Tensor:
        """(b s n c) values, points flattened with the last axis fastest; what has no time is the same at all times."""
        values = [column.read(samples, frames) for column in self.columns.values()]
        if len(values) == 1:
            return torch.from_numpy(values[0][..., None])
        sizes = np.broadcast_shapes(*(column.shape for column in values))
        out = torch.empty(*sizes, len(values))
        for c, column in enumerate(values):
            out[..., c] = torch.from_numpy(column)
        return out


def schema_of(ds: xr.Dataset, *, stride: int = 1, history: int = 1, time_stride: int = 1) -> Schema:
    """The schema that a dataset in canonical form describes: roles give the channels, coordinates the geometry."""

    def named(role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in ds.data_vars.items() if v.attrs.get("role") == role)

    states = named("state")
    inputs, outputs = ((*states, *named("input")), states) if states else (named("input"), named("output"))
    if not inputs or not outputs:
        roles = {name: variable.attrs.get("role") for name, variable in ds.data_vars.items()}
        raise DataError(f"The data name no input and output (or state): roles are {roles}. Set `attrs['role']` of each variable.")
    field = ds[outputs[0]]
    dims = tuple(str(d) for d in field.dims if d not in ("sample", "time"))
    scattered = dims == ("point",)
    coords = tuple(str(c) for c in ds.coords if "point" in ds[c].dims) if scattered else dims
    shifts = {name for g in json.loads(ds.attrs.get("symmetries", "[]")) for name in g.get("shift", ())}
    return Schema(
        coords=coords,
        inputs=inputs,
        outputs=outputs,
        params=named("parameter"),
        units={str(n): str(v.attrs["units"]) for n, v in ds.variables.items() if v.attrs.get("units")},
        periodic=tuple(bool(ds[c].attrs.get("periodic", 0)) for c in coords),
        homogeneous=tuple(c in shifts for c in coords),
        bounds=tuple(_bounds(ds[c]) for c in coords),
        grid=None if scattered else tuple(-(-ds.sizes[d] // stride) for d in dims),
        dt=time_stride * float(np.diff(np.asarray(ds["time"], dtype=np.float64)).mean()) if states else None,
        history=history,
        weight=next((name for name in inputs if ds[name].attrs.get("quadrature")), None),
    )


def split_indices(ds: xr.Dataset, *, validation: float, test: float, seed: int) -> dict[str, np.ndarray]:
    """Sample numbers of train, validation and test: the file's own split, else random shares that are said by the caller."""
    if "split" in ds.coords:
        split = np.asarray(ds["split"])
        return {name: np.flatnonzero(split == code) for code, name in enumerate(SPLITS)}
    order = np.random.default_rng(seed).permutation(ds.sizes["sample"])
    cut = np.cumsum([round(validation * len(order)), round(test * len(order))])
    held, tested, train = np.split(order, cut)
    return {"train": np.sort(train), "validation": np.sort(held), "test": np.sort(tested)}


def statistics(data: FieldDataset, scalings: Mapping[str, Scaling] | None = None) -> dict[str, Statistics]:
    """Statistics of every variable over the samples of ``data``, merged in float64; each asks for what its scaling needs."""
    result = {}
    for name in dict.fromkeys((*data.schema.inputs, *data.schema.outputs, *data.schema.params)):
        scaling = (scalings or {}).get(name, Standard())
        if scaling.by and scaling.by not in data.schema.params:
            raise DataError(f"{name!r} cannot be scaled by {scaling.by!r}: parameters are {list(data.schema.params)}.")
        by = np.broadcast_to(data.ds[scaling.by].values, data.ds.sizes["sample"]) if scaling.by else None
        result[name] = measure(data.ds.variables[name], data.indices, scaling, by, data.thin)
    return result


def require(ds: xr.Dataset, schema: Schema) -> None:
    """Refuses a dataset that lacks a variable or coordinate of the schema."""
    for kind, names, have in (
        ("variable", (*schema.inputs, *schema.outputs, *schema.params), list(ds.data_vars)),
        ("coordinate", schema.coords, list(ds.coords)),
    ):
        missing = [name for name in names if name not in have]
        if missing:
            raise DataError(f"The data have no {kind} {missing[0]!r}; they have {[str(h) for h in have]}. Rename with `ds.rename`.")


def space_dims(ds: xr.Dataset, schema: Schema) -> tuple[str, ...]:
    """The dims that points run along: the grid's axes, or ``point``."""
    return ("point",) if "point" in ds.dims else schema.coords


def points_of(ds: xr.Dataset, schema: Schema) -> Tensor:
    """Coordinates exactly as stored, (n d), last axis fastest."""
    columns: list[Any] = [np.asarray(ds[name], dtype=np.float64) for name in schema.coords]
    if "point" not in ds.dims:
        columns = [mesh.reshape(-1) for mesh in np.meshgrid(*columns, indexing="ij")]
    return torch.from_numpy(np.stack(columns, axis=-1)).float()


def _bounds(coord: xr.DataArray) -> tuple[float, float]:
    if "bounds" in coord.attrs and not isinstance(coord.attrs["bounds"], str):
        low, high = (float(value) for value in coord.attrs["bounds"])
        return low, high
    values = np.asarray(coord, dtype=np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))
