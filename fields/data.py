"""Torch samples over an opened dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from fields.io import SPLITS, DataError, stored_array
from fields.sample import Sample, Schema


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
        memory_limit: bytes up to which the arrays are held in memory.
    """

    def __init__(
        self,
        ds: xr.Dataset,
        schema: Schema,
        *,
        indices: Sequence[int] | np.ndarray | None = None,
        stride: int = 1,
        horizon: int | None = 1,
        memory_limit: float = 2e9,
    ):
        require(ds, schema)
        ds = ds[list(dict.fromkeys((*schema.inputs, *schema.outputs, *schema.params)))]
        ds = ds.isel({dim: slice(None, None, stride) for dim in space_dims(ds, schema)}) if stride > 1 else ds
        chosen = np.arange(ds.sizes["sample"]) if indices is None else np.asarray(indices)
        self.frames = ds.sizes.get("time", 1) if schema.dt is not None else 1
        horizon = max(self.frames - schema.history, 1) if horizon is None else horizon
        self.schema, self.horizon = schema, horizon
        self.windows = self.frames - schema.history - horizon + 1 if schema.dt is not None else 1
        if self.windows < 1:
            raise DataError(
                f"A window of {schema.history} given and {horizon} wanted frames is longer than the {self.frames} frames stored. "
                "Shorten the history or the horizon."
            )
        self.in_memory = ds.nbytes / max(ds.sizes["sample"], 1) * len(chosen) <= memory_limit
        self.ds, self.indices = ds, chosen
        self.shared = None if "point" in ds.dims and "sample" in ds[schema.coords[0]].dims else points_of(ds, schema)
        self.held: dict[tuple[str, ...], Tensor] = {}
        if self.in_memory:
            self.ds, self.indices = ds.isel(sample=chosen).load(), np.arange(len(chosen))
            self.held = {names: self._read(names, slice(None)) for names in (schema.inputs, schema.outputs)}

    def __len__(self) -> int:
        return len(self.indices) * self.windows

    def __getitem__(self, item: int) -> Sample:
        sample, first = divmod(item, self.windows)
        index, h = int(self.indices[sample]), self.schema.history
        x = self.shared if self.shared is not None else points_of(self.ds.isel(sample=index), self.schema)
        if self.schema.dt is None:
            u, v, t = self._frames(self.schema.inputs, index)[0], self._frames(self.schema.outputs, index), torch.zeros(1)
        else:
            u = torch.cat(list(self._frames(self.schema.inputs, index, slice(first, first + h))), dim=-1)
            v = self._frames(self.schema.outputs, index, slice(first + h, first + h + self.horizon))
            times = np.asarray(self.ds["time"], dtype=np.float64)[first : first + h + self.horizon]
            t = torch.from_numpy(times[h:] - times[h - 1]).float()
        if self.shared is None:  # ragged samples are padded with NaN coordinates in the file
            real = torch.isfinite(x).all(-1)
            x, u, v = x[real], u[real], v[:, real]
        y = x
        if "point" in self.ds.dims:  # where one of several input functions lives there may be nothing to predict
            wanted = torch.isfinite(v).all(-1).all(0)
            y, v = (x, v) if bool(wanted.all()) else (x[wanted], v[:, wanted])
        params = torch.tensor([float(self._one(name, index)) for name in self.schema.params])
        mask, y_mask = (torch.ones(len(points), dtype=torch.bool) for points in (x, y))
        return Sample(x=x, u=u, x_mask=mask, y=y, v=v, y_mask=y_mask, t=t, params=params)

    def _frames(self, names: tuple[str, ...], index: int, frames: slice = slice(None)) -> Tensor:
        """(s n c) values of one sample."""
        return self.held[names][index, frames] if self.held else self._read(names, slice(index, index + 1), frames)[0]

    def _read(self, names: tuple[str, ...], samples: slice, frames: slice = slice(None)) -> Tensor:
        """(b s n c) values, points flattened with the last axis fastest; variables without time get s = 1."""
        space, columns = space_dims(self.ds, self.schema), []
        for name in names:
            rows = self._rows(name, {"sample": samples, "time": frames})
            rows = rows.set_dims({"sample": 1, **rows.sizes}) if "sample" not in rows.dims else rows
            rows = rows.set_dims({"time": 1, **rows.sizes}) if "time" not in rows.dims else rows
            values = rows.transpose("sample", "time", *space).values.astype(np.float32)
            columns.append(values.reshape(*values.shape[:2], -1))
        return torch.from_numpy(np.stack(np.broadcast_arrays(*columns), axis=-1))  # what has no time is the same at all times

    def _rows(self, name: str, window: dict[str, slice]) -> xr.Variable:
        """A window of one variable; from the file itself where that is possible, which is several times as fast as xarray."""
        variable = self.ds.variables[name]
        stored = stored_array(variable)
        if stored is None:
            return variable.isel(window, missing_dims="ignore")
        return xr.Variable(variable.dims, stored.read(tuple(window.get(str(dim), slice(None)) for dim in variable.dims)))

    def _one(self, name: str, index: int) -> float:
        variable = self.ds[name]
        return float(variable.isel(sample=index) if "sample" in variable.dims else variable)


def schema_of(ds: xr.Dataset, *, stride: int = 1, history: int = 1) -> Schema:
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
        dt=float(np.diff(np.asarray(ds["time"], dtype=np.float64)).mean()) if states else None,
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


def statistics(data: FieldDataset) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of every variable over the samples of ``data``, merged in float64 (Chan et al. 1983)."""
    result = {}
    for name in dict.fromkeys((*data.schema.inputs, *data.schema.outputs, *data.schema.params)):
        count, mean, square = 0, 0.0, 0.0
        for index in data.indices:
            row = data.ds[name] if "sample" not in data.ds[name].dims else data.ds[name].isel(sample=int(index))
            values = np.asarray(row.values, dtype=np.float64)
            values = values[np.isfinite(values)]
            n, m = values.size, float(values.mean())
            delta, total = m - mean, count + n
            square += float(np.square(values - m).sum()) + delta**2 * count * n / total
            mean, count = mean + delta * n / total, total
        result[name] = (mean, float(np.sqrt(square / count)))
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
