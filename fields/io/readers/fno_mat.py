"""MATLAB files: those of the Fourier neural operator paper, and single reference trajectories.

===========================  =================================================  ==================
arrays                       shapes in MATLAB's order                           problem
===========================  =================================================  ==================
``coeff``, ``sol``           (N, X, Y), nodes of [0, 1]² with its boundary      Darcy
``a``, ``u``                 (N, X), periodic at i/n                            Burgers, u at t = 1
``u``, also ``a``, ``t``     (N, X, Y, T), time last, frames after ``a``        Navier–Stokes, i/n
``x``, ``t`` or ``tt``, u    (X, T)                                             one trajectory
===========================  =================================================  ==================

If the file has coordinates ``x``, ``y``, ``z``, ``t``, they are used.

Version 7.3 is HDF5 with all axes reversed. Version 5 compresses whole arrays, so each is loaded
when it is first used; so is each array of an ``.npz`` file with the same names.

Reference: Li et al., ICLR 2021; Raissi, Perdikaris & Karniadakis, JCP 2019.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.archives import npz_shapes
from fields.io.base import DataError, Reader, check_canonical
from fields.io.grid import SQUARE_SYMMETRIES, space_coordinate
from fields.io.handles import Handle, MatlabHandle, NumpyHandle
from fields.io.hdf5 import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.matlab5 import matlab5_arrays
from fields.io.signatures import is_hdf5, is_matlab5, is_zip, read_prefix

# Names of arrays that may hold coordinates.
COORDINATE_NAME = re.compile(
    r"t|tt|time|[xyz]{1,2}|[xyz]_?(grid|coords?)|grid(_?[xyz])?|coords?", re.I
)

Shapes = dict[str, tuple[int, ...]]


class FnoMat(Reader):
    """Arrays ``coeff``/``sol`` or ``a``/``u``, or a single trajectory over ``x`` and ``t``.

    Example:
        >>> import tempfile, scipy.io
        >>> path = Path(tempfile.mkdtemp()) / "burgers.mat"
        >>> scipy.io.savemat(path, {"a": np.zeros((3, 8)), "u": np.zeros((3, 8))})
        >>> dict(FnoMat().open(path).sizes)
        {'sample': 3, 'x': 8}
    """

    layout = "fno_mat"
    engine = "fno_mat"

    def recognizes(self, path: Path) -> bool:
        """By the names and shapes of the arrays."""
        return _kind(_array_shapes(path)) is not None

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Open the file.

        Args:
            path: the file.
            periodic: whether the axes are periodic; default: as in the recognized problem, else
                unknown.
        """
        handle = _open_handle(path)
        view = _MatlabView(handle, reversed_axes=isinstance(handle, HDF5Handle))
        shapes = _array_shapes(path)
        build = {"darcy": _darcy, "map": _map, "frames": _frames, "trajectory": _trajectory}
        kind = str(_kind(shapes))
        ds = build[kind](view, shapes)
        if kind != "trajectory":
            ds = _with_stored_axes(ds, view, shapes)
        if periodic is not None:
            for name in ds.indexes.keys() - {"time", "sample"}:
                coordinate = space_coordinate(str(name), ds[name].values, periodic=periodic)
                ds = ds.assign_coords({name: coordinate})
        ds.attrs["layout"] = self.layout
        ds.set_close(handle.close)
        return check_canonical(ds, path)


class _MatlabView:
    """The arrays of a file with MATLAB's order of axes, for either version of the format."""

    def __init__(self, handle: Handle, *, reversed_axes: bool):
        self.handle = handle
        self.reversed_axes = reversed_axes

    def stored(self, name: str, axes: tuple[int | None, ...]) -> StoredArray:
        """The array whose canonical axis i is MATLAB's axis ``axes[i]``."""
        n = len([a for a in axes if a is not None])
        order = [a if a is None or not self.reversed_axes else n - 1 - a for a in axes]
        return StoredArray(self.handle, name, order=order)

    def vector(self, name: str) -> np.ndarray:
        """A small array, flattened."""
        return np.asarray(self.handle.array(name)).reshape(-1)


def _open_handle(path: Path) -> Handle:
    if is_hdf5(path):
        return HDF5Handle(path)
    return NumpyHandle(path) if is_zip(path) else MatlabHandle(path)


def _array_shapes(path: Path) -> Shapes:
    """Shapes by name, in MATLAB's order of axes; empty for other files."""
    if is_matlab5(path):
        return {array.name: array.shape for array in matlab5_arrays(path) if array.numeric}
    if read_prefix(path).startswith(b"MATLAB 7.3 MAT-file") and is_hdf5(path):
        with open_hdf5(path) as file:
            return {name: d.shape[::-1] for name, d in file.items() if hasattr(d, "shape")}
    return npz_shapes(path) if is_zip(path) else {}


def _kind(shapes: Shapes) -> str | None:
    if {"coeff", "sol"} <= shapes.keys():
        return "darcy"
    if "u" in shapes and len(shapes["u"]) == 4:
        return "frames"
    if {"a", "u"} <= shapes.keys() and shapes["a"] == shapes["u"]:
        return "map"
    return "trajectory" if _trajectory_names(shapes) else None


def _trajectory_names(shapes: Shapes) -> tuple[str, str] | None:
    """Names of the time and the field of a file with ``x`` (X), time (T) and one field (X, T)."""
    time = next((name for name in ("t", "tt") if name in shapes), None)
    if time is None or "x" not in shapes:
        return None
    shape = (int(np.prod(shapes["x"])), int(np.prod(shapes[time])))
    fields = [name for name, s in shapes.items() if s == shape and name not in ("x", time)]
    return (time, fields[0]) if len(fields) == 1 else None


def _darcy(view: _MatlabView, shapes: Shapes) -> xr.Dataset:
    if shapes["coeff"] != shapes["sol"] or len(shapes["sol"]) != 3:
        raise DataError(
            f"{view.handle.path}: coeff has the shape {shapes['coeff']} and sol {shapes['sol']}, "
            "expected (N, X, Y) for both."
        )
    dims = ("sample", "x", "y")
    variables = {
        "coeff": lazy_variable(dims, view.stored("coeff", (0, 1, 2)), {"role": "input"}),
        "sol": lazy_variable(dims, view.stored("sol", (0, 1, 2)), {"role": "output"}),
    }
    coords = {
        name: space_coordinate(name, np.linspace(0, 1, n), periodic=False)
        for name, n in zip("xy", shapes["sol"][1:], strict=True)
    }
    attrs = {"problem": "darcy", "symmetries": json.dumps(SQUARE_SYMMETRIES)}
    return xr.Dataset(variables, coords, attrs)


def _map(view: _MatlabView, shapes: Shapes) -> xr.Dataset:
    axes = ("x", "y", "z")[: len(shapes["u"]) - 1]
    dims = ("sample", *axes)
    order = tuple(range(len(dims)))
    variables = {
        "a": lazy_variable(dims, view.stored("a", order), {"role": "input"}),
        "u": lazy_variable(dims, view.stored("u", order), {"role": "output"}),
    }
    coords = _periodic_axes(axes, shapes["u"][1:])
    return xr.Dataset(variables, coords, {"problem": "burgers"} if len(axes) == 1 else {})


def _frames(view: _MatlabView, shapes: Shapes) -> xr.Dataset:
    samples, *grid, frames = shapes["u"]
    attrs = {"role": "state", "long_name": "vorticity"}
    u = view.stored("u", (0, 3, 1, 2))
    variables = {"u": lazy_variable(("sample", "time", "x", "y"), u, attrs)}
    if shapes.get("a") == (samples, *grid):
        attrs = {"role": "input", "long_name": "vorticity at time 0"}
        variables["a"] = lazy_variable(("sample", "x", "y"), view.stored("a", (0, 1, 2)), attrs)
    has_times = int(np.prod(shapes.get("t", (0,)))) == frames
    times = view.vector("t") if has_times else np.arange(1.0, frames + 1)
    coords: dict[str, Any] = {"time": ("time", times), **_periodic_axes(("x", "y"), grid)}
    return xr.Dataset(variables, coords, {"problem": "navier_stokes"})


def _with_stored_axes(ds: xr.Dataset, view: _MatlabView, shapes: Shapes) -> xr.Dataset:
    """The dataset with the coordinates ``x``, ``y``, ``z``, ``t`` of the file, if it has them.

    Whether an axis is periodic is then known only if its points are those of the layout.

    Raises:
        DataError: an array may hold coordinates, but does not fit the axes.
    """
    for name, shape in shapes.items():
        if name in ds.data_vars or not COORDINATE_NAME.fullmatch(name):
            continue
        axis = (
            "time" if name.lower()[0] == "t" else name.lower().removeprefix("grid").strip("_")[:1]
        )
        size = ds.sizes.get(axis)
        fits = size is not None and shape.count(1) >= len(shape) - 1 and math.prod(shape) == size
        if not fits or axis not in ("x", "y", "z", "time"):
            raise DataError(_coordinate_message(view.handle.path, name, shape, ds))
        values = view.vector(name)
        if axis == "time":
            ds = ds.assign_coords(time=("time", values))
        elif not np.allclose(values, ds[axis].values, rtol=0, atol=1e-6):
            ds = ds.assign_coords({axis: space_coordinate(axis, values)})
            ds.attrs.pop("problem", None)
            ds.attrs.pop("symmetries", None)
    return ds


def _coordinate_message(path: Path, name: str, shape: tuple[int, ...], ds: xr.Dataset) -> str:
    field = max(ds.data_vars, key=lambda n: ds[n].ndim)
    dims = ", ".join(map(str, ds[field].dims))
    return (
        f"{path}: `{name}` of the shape {shape} may hold coordinates, but it does not fit the axes "
        f"{dict(ds.sizes)}. Say what the arrays are with a mapping, such as {{dims: [{dims}], "
        f"fields: {{{field}: {field}}}, coords: {{x: {name}}}}}."
    )


def _periodic_axes(
    axes: tuple[str, ...], sizes: list[int] | tuple[int, ...]
) -> dict[str, xr.Variable]:
    return {
        name: space_coordinate(name, np.arange(n) / n, periodic=True)
        for name, n in zip(axes, sizes, strict=True)
    }


def _trajectory(view: _MatlabView, shapes: Shapes) -> xr.Dataset:
    time, field = _trajectory_names(shapes) or ("", "")
    array = view.stored(field, (None, 1, 0))
    coords = {"time": ("time", view.vector(time)), "x": space_coordinate("x", view.vector("x"))}
    return xr.Dataset(
        {field: lazy_variable(("sample", "time", "x"), array, {"role": "state"})}, coords
    )
