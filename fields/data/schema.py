"""What a dataset in canonical form describes: roles give the channels, coordinates the geometry."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.core.sample import Schema
from fields.io.base import DataError


def schema_of(ds: xr.Dataset, *, stride: int = 1, history: int = 1, time_stride: int = 1) -> Schema:
    """The schema that a dataset in canonical form describes: roles give the channels, coordinates the geometry."""

    def named(role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in ds.data_vars.items() if v.attrs.get("role") == role)

    states = named("state")
    inputs, outputs = (
        ((*states, *named("input")), states) if states else (named("input"), named("output"))
    )
    if not inputs or not outputs:
        roles = {name: variable.attrs.get("role") for name, variable in ds.data_vars.items()}
        raise DataError(
            f"The data name no input and output (or state): roles are {roles}. Set `attrs['role']` of each variable."
        )
    field = ds[outputs[0]]
    dims = tuple(str(d) for d in field.dims if d not in ("sample", "time"))
    scattered = dims == ("point",)
    coords = tuple(str(c) for c in ds.coords if "point" in ds[c].dims) if scattered else dims
    shifts = {
        name for g in json.loads(ds.attrs.get("symmetries", "[]")) for name in g.get("shift", ())
    }
    return Schema(
        coords=coords,
        inputs=inputs,
        outputs=outputs,
        params=named("parameter"),
        units={
            str(n): str(v.attrs["units"]) for n, v in ds.variables.items() if v.attrs.get("units")
        },
        periodic=tuple(bool(ds[c].attrs.get("periodic", 0)) for c in coords),
        homogeneous=tuple(c in shifts for c in coords),
        bounds=tuple(_bounds(ds[c]) for c in coords),
        grid=None if scattered else tuple(-(-ds.sizes[d] // stride) for d in dims),
        dt=time_stride * float(np.diff(np.asarray(ds["time"], dtype=np.float64)).mean())
        if states
        else None,
        history=history,
        weight=next((name for name in inputs if ds[name].attrs.get("quadrature")), None),
    )


def require(ds: xr.Dataset, schema: Schema) -> None:
    """Refuses a dataset that lacks a variable or coordinate of the schema."""
    for kind, names, have in (
        ("variable", (*schema.inputs, *schema.outputs, *schema.params), list(ds.data_vars)),
        ("coordinate", schema.coords, list(ds.coords)),
    ):
        missing = [name for name in names if name not in have]
        if missing:
            raise DataError(
                f"The data have no {kind} {missing[0]!r}; they have {[str(h) for h in have]}. Rename with `ds.rename`."
            )


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
