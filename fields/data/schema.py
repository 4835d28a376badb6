"""What a dataset in canonical form contains: channels by role, geometry by coordinates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.core.sample import Schema
from fields.data.precision import needs_double
from fields.data.requirements import check_coordinates, check_dims, check_extent, check_roles
from fields.data.times import check_times, with_numeric_times
from fields.io.base import DataError


def schema_of(ds: xr.Dataset, *, stride: int = 1, history: int = 1, time_stride: int = 1) -> Schema:
    """The schema of a dataset in canonical form: roles give the channels, coordinates the geometry.

    Args:
        ds: the dataset.
        stride: every stride-th point along each axis is used.
        history: input frames of evolution problems.
        time_stride: every time_stride-th frame is used.

    Raises:
        DataError: no variables have the roles ``input`` and ``output``, or ``state``; a variable
            runs over other dims than its role allows or has no real values; the domain has no
            extent along an axis; times do not ascend.

    Example:
        >>> a, u = ((("sample", "x"), np.zeros((2, 4)), {"role": r}) for r in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0, 2.0, 3.0]})
        >>> schema_of(ds, stride=2).grid
        (2,)
    """
    ds = with_numeric_times(ds)
    inputs, outputs, params = check_roles(ds)
    evolves = ds[outputs[0]].attrs["role"] == "state"
    dims = tuple(str(d) for d in ds[outputs[0]].dims if d not in ("sample", "time"))
    scattered = dims == ("point",)
    coords = tuple(str(c) for c in ds.coords if "point" in ds[c].dims) if scattered else dims
    check_dims(
        ds,
        dims,
        fields=dict.fromkeys((*inputs, *outputs)),
        states=outputs if evolves else (),
        params=params,
    )
    check_coordinates(ds, coords)
    symmetries = json.loads(ds.attrs.get("symmetries", "[]"))
    shifts = {name for generator in symmetries for name in generator.get("shift", ())}
    return Schema(
        coords=coords,
        inputs=inputs,
        outputs=outputs,
        params=params,
        units={
            str(n): str(v.attrs["units"]) for n, v in ds.variables.items() if v.attrs.get("units")
        },
        periodic=tuple(bool(ds[c].attrs.get("periodic", 0)) for c in coords),
        homogeneous=tuple(c in shifts for c in coords),
        bounds=tuple(_extent(ds[c]) for c in coords),
        grid=None if scattered else _grid(ds, dims, stride),
        dt=_frame_interval(ds, time_stride) if evolves else None,
        history=history,
        weight=next((name for name in inputs if ds[name].attrs.get("quadrature")), None),
    )


def require(ds: xr.Dataset, schema: Schema, *, targets: bool = True) -> None:
    """Checks that a dataset has the variables and coordinates of the schema, over fitting dims.

    Args:
        ds: the dataset; roles are not read.
        schema: what is needed.
        targets: whether the outputs and the time axis of states are needed; for a prediction they
            are not.

    Raises:
        DataError: it lacks one, or one does not fit (see `fields.data.requirements`).
    """
    outputs = schema.outputs if targets else ()
    fields = list(dict.fromkeys((*schema.inputs, *outputs)))
    for kind, names, present in (
        ("variable", (*fields, *schema.params), ds.data_vars),
        ("coordinate", schema.coords, ds.coords),
    ):
        missing = [name for name in names if name not in present]
        if missing:
            raise DataError(
                f"The data have no {kind} {missing[0]!r}; "
                f"they have {[str(name) for name in present]}. Rename with `ds.rename`."
            )
    states = schema.outputs if schema.dt is not None else ()
    space = space_dims(ds, schema)
    check_dims(ds, space, fields=fields, states=states, params=schema.params, timed=targets)
    check_coordinates(ds, schema.coords)
    if states:
        check_times(ds)


def space_dims(ds: xr.Dataset, schema: Schema) -> tuple[str, ...]:
    """The dims that points run along: the axes of the grid, or ``point``."""
    return ("point",) if "point" in ds.dims else schema.coords


def points_of(ds: xr.Dataset, schema: Schema) -> Tensor:
    """Coordinates exactly as stored, shape (n d) with the last axis of a grid fastest.

    In single precision, except where the bounds of the domain need double (`needs_double`).

    Example:
        >>> ds = xr.Dataset(coords={"x": [0.0, 1.0], "y": [5.0, 6.0]})
        >>> points_of(ds, Schema(("x", "y"), ("a",), ("u",), bounds=((0, 1), (5, 6)))).tolist()
        [[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]]
    """
    columns: list[Any] = [np.asarray(ds[name], dtype=np.float64) for name in schema.coords]
    if "point" not in ds.dims:
        columns = [mesh.reshape(-1) for mesh in np.meshgrid(*columns, indexing="ij")]
    points = torch.from_numpy(np.stack(columns, axis=-1))
    double = any(needs_double(low, high) for low, high in schema.bounds)
    return points if double else points.float()


def _grid(ds: xr.Dataset, dims: tuple[str, ...], stride: int) -> tuple[int, ...]:
    """Points per axis that a stride leaves, at least two."""
    grid = tuple(-(-ds.sizes[dim] // stride) for dim in dims)
    if min(grid) < 2:
        axis = dims[int(np.argmin(grid))]
        raise DataError(
            f"The axis `{axis}` has {ds.sizes[axis]} points, of which a stride of {stride} leaves "
            f"{min(grid)}; an axis needs at least 2. Use a smaller stride, or drop an axis of a "
            f"single point with `ds.isel({axis}=0)`."
        )
    return grid


def _frame_interval(ds: xr.Dataset, time_stride: int) -> float:
    """Mean time between the frames that are used."""
    check_times(ds)
    if ds.sizes["time"] < 2:
        raise DataError(
            "The states have one frame, so nothing evolves. Add later frames, or give the fields "
            "the roles `input` and `output`."
        )
    return time_stride * float(np.diff(np.asarray(ds["time"], dtype=np.float64)).mean())


def _extent(coord: xr.DataArray) -> tuple[float, float]:
    low, high = _bounds(coord)
    check_extent(str(coord.name), low, high)
    return low, high


def _bounds(coord: xr.DataArray) -> tuple[float, float]:
    """The bounds that the file states, else the extremes of the coordinate."""
    if "bounds" in coord.attrs and not isinstance(coord.attrs["bounds"], str):
        low, high = (float(value) for value in coord.attrs["bounds"])
        return low, high
    values = np.asarray(coord, dtype=np.float64)
    return float(np.nanmin(values)), float(np.nanmax(values))
