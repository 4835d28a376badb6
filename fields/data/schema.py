"""What a dataset in canonical form contains: channels by role, geometry by coordinates."""

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
    """The schema of a dataset in canonical form: roles give the channels, coordinates the geometry.

    Args:
        ds: the dataset.
        stride: every stride-th point along each axis is used.
        history: input frames of evolution problems.
        time_stride: every time_stride-th frame is used.

    Raises:
        DataError: no variables have the roles ``input`` and ``output``, or ``state``.

    Example:
        >>> a, u = ((("sample", "x"), np.zeros((2, 4)), {"role": r}) for r in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0, 2.0, 3.0]})
        >>> schema_of(ds, stride=2).grid
        (2,)
    """

    def named(role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in ds.data_vars.items() if v.attrs.get("role") == role)

    states = named("state")
    inputs = (*states, *named("input"))
    outputs = states or named("output")
    if not inputs or not outputs:
        roles = {str(name): variable.attrs.get("role") for name, variable in ds.data_vars.items()}
        raise DataError(
            f"The data have no input and output (or state) variables: their roles are {roles}. "
            "Set `attrs['role']` of each variable."
        )
    dims = tuple(str(d) for d in ds[outputs[0]].dims if d not in ("sample", "time"))
    scattered = dims == ("point",)
    coords = tuple(str(c) for c in ds.coords if "point" in ds[c].dims) if scattered else dims
    symmetries = json.loads(ds.attrs.get("symmetries", "[]"))
    shifts = {name for generator in symmetries for name in generator.get("shift", ())}
    dt = None
    if states:
        dt = time_stride * float(np.diff(np.asarray(ds["time"], dtype=np.float64)).mean())
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
        dt=dt,
        history=history,
        weight=next((name for name in inputs if ds[name].attrs.get("quadrature")), None),
    )


def require(ds: xr.Dataset, schema: Schema) -> None:
    """Checks that a dataset has every variable and coordinate of the schema.

    Raises:
        DataError: it lacks one.
    """
    for kind, names, present in (
        ("variable", (*schema.inputs, *schema.outputs, *schema.params), ds.data_vars),
        ("coordinate", schema.coords, ds.coords),
    ):
        missing = [name for name in names if name not in present]
        if missing:
            raise DataError(
                f"The data have no {kind} {missing[0]!r}; "
                f"they have {[str(name) for name in present]}. Rename with `ds.rename`."
            )


def space_dims(ds: xr.Dataset, schema: Schema) -> tuple[str, ...]:
    """The dims that points run along: the axes of the grid, or ``point``."""
    return ("point",) if "point" in ds.dims else schema.coords


def points_of(ds: xr.Dataset, schema: Schema) -> Tensor:
    """Coordinates exactly as stored, shape (n d) with the last axis of a grid fastest.

    Example:
        >>> ds = xr.Dataset(coords={"x": [0.0, 1.0], "y": [5.0, 6.0]})
        >>> points_of(ds, Schema(("x", "y"), ("a",), ("u",), bounds=((0, 1), (5, 6)))).tolist()
        [[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]]
    """
    columns: list[Any] = [np.asarray(ds[name], dtype=np.float64) for name in schema.coords]
    if "point" not in ds.dims:
        columns = [mesh.reshape(-1) for mesh in np.meshgrid(*columns, indexing="ij")]
    return torch.from_numpy(np.stack(columns, axis=-1)).float()


def _bounds(coord: xr.DataArray) -> tuple[float, float]:
    """The bounds that the file states, else the extremes of the coordinate."""
    if "bounds" in coord.attrs and not isinstance(coord.attrs["bounds"], str):
        low, high = (float(value) for value in coord.attrs["bounds"])
        return low, high
    values = np.asarray(coord, dtype=np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))
