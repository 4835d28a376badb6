"""Point clouds and meshes in HDF5: values at scattered points, which may move from sample to sample.

Points are ``x``, ``y`` (``z``) of shape (P) or (N, P), or one array ``xy``, ``points``, ``pos`` …
of shape (P, d) or (N, P, d). Fields end in the point axis, or in it and one for components: (P),
(N, P), (T, P) beside ``t`` (T), (N, T, P), (…, P, C). Arrays (N) and (N, k) without a point axis
are parameters; integers (K, 3) or (K, 4) named ``triangles``, ``cells`` … are the mesh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy

JOINT = ("xy", "xyz", "points", "vertices", "nodes", "pos", "coords", "coordinates")

MESH = ("triangles", "cells", "elements", "faces", "connectivity")

TIMES = ("t", "time", "times")

MAX_COMPONENTS = 9  # a last axis this short is one of components


class PointCloud(Reader):
    """Fields at scattered points in the root group of an HDF5 file."""

    layout = "points"

    def recognizes(self, path: Path) -> bool:
        """By coordinates that share one point axis with a field."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            geometry = _geometry(file)
            return geometry is not None and any(
                geometry.dims(file, name) for name in map(str, file)
            )

    def open(self, path: Path) -> xr.Dataset:
        """Opens the file."""
        handle = HDF5Handle(path)
        geometry = _geometry(handle.file)
        assert geometry is not None
        variables: dict[str, xr.Variable] = {}
        for name in handle.file:
            dims = geometry.dims(handle.file, name)
            if dims:
                variables |= _field(handle, name, dims, geometry.axes)
            elif geometry.samples and _is_parameter(handle.file[name], geometry):
                variables |= _parameter(name, np.asarray(handle.array(name)))
        ds = xr.Dataset(variables, _coordinates(handle, geometry), {"layout": self.layout})
        if "pde" in handle.file.attrs:
            ds.attrs["problem"] = str(handle.file.attrs["pde"])
        ds.set_close(handle.close)
        return check(ds, path)


class Geometry(NamedTuple):
    """Where the points are stored, how many there are, and which axes they share with the fields."""

    joint: str | None  # name of one array of all coordinates
    axes: tuple[str, ...]
    points: int
    samples: int | None  # None: the points are the same for all samples
    time: str | None
    frames: int

    def dims(self, file: h5py.File, name: str) -> tuple[str, ...]:
        """Dims of a field, ``component`` last if it has several; () for anything that is no field."""
        dataset = file[name]
        if name in (*self.axes, self.joint, self.time, *MESH) or not isinstance(
            dataset, h5py.Dataset
        ):
            return ()
        sizes, tail = tuple(dataset.shape or ()), ()
        if len(sizes) > 1 and sizes[-1] <= MAX_COMPONENTS and sizes[-2] == self.points:
            sizes, tail = sizes[:-1], ("component",)
        if not sizes or sizes[-1] != self.points:
            return ()
        lead = sizes[:-1]
        if (
            len(lead) == 2
            and self.time
            and lead[1] == self.frames
            and lead[0] == (self.samples or lead[0])
        ):
            return ("sample", "time", "point", *tail)
        if len(lead) == 1 and self.time and lead[0] == self.frames and self.samples in (None, 1):
            return ("time", "point", *tail)
        if len(lead) == 1 and lead[0] == (self.samples or lead[0]):
            return ("sample", "point", *tail)
        return ("point", *tail) if not lead else ()


def _geometry(file: h5py.File) -> Geometry | None:
    shapes: dict[str, tuple[int, ...]] = {
        name: tuple(d.shape or ()) for name, d in file.items() if isinstance(d, h5py.Dataset)
    }
    time = next((name for name in TIMES if len(shapes.get(name, ())) == 1), None)
    frames = shapes[time][0] if time else 0
    for name in JOINT:
        shape = shapes.get(name, ())
        if len(shape) in (2, 3) and shape[-1] in (2, 3) and shape[-2] > 3:
            samples = shape[0] if len(shape) == 3 else None
            return Geometry(name, ("x", "y", "z")[: shape[-1]], shape[-2], samples, time, frames)
    axes = tuple(name for name in ("x", "y", "z") if name in shapes)
    if (
        axes[:2] != ("x", "y")
        or len({shapes[name] for name in axes}) > 1
        or len(shapes["x"]) not in (1, 2)
    ):
        return None
    points = shapes["x"][-1]
    gridded = any(shape.count(points) > 1 for shape in shapes.values())  # x and y of a square grid
    if len(shapes["x"]) == 1 and gridded:
        return None
    return Geometry(
        None, axes, points, shapes["x"][0] if len(shapes["x"]) == 2 else None, time, frames
    )


def _coordinates(handle: HDF5Handle, geometry: Geometry) -> dict[str, Any]:
    dims = ("sample", "point") if geometry.samples else ("point",)
    coords: dict[str, Any] = {}
    for i, name in enumerate(geometry.axes):
        fixed = {len(dims): i} if geometry.joint else {}
        coords[name] = lazy(dims, StoredArray(handle, geometry.joint or name, fixed=fixed))
    if geometry.time:
        coords["time"] = ("time", np.asarray(handle.array(geometry.time)))
    for name in MESH:
        if (
            name in handle.file
            and handle.array(name).ndim == 2
            and handle.array(name).dtype.kind in "iu"
        ):
            cells = np.asarray(handle.array(name))
            if cells.size and (cells.min() < 0 or cells.max() >= geometry.points):
                raise DataError(
                    f"{handle.path}: `{name}` refers to point {cells.max()} of {geometry.points}, counted from 0."
                )
            coords["triangles"] = (("triangle", "corner"), cells)
    return coords


def _field(
    handle: HDF5Handle, name: str, dims: tuple[str, ...], axes: tuple[str, ...]
) -> dict[str, xr.Variable]:
    parts = handle.array(name).shape[-1] if dims[-1] == "component" else 0
    plain_dims = tuple(dim for dim in dims if dim != "component")
    order: tuple[int | None, ...] = tuple(range(len(plain_dims)))
    if plain_dims[0] != "sample":
        plain_dims, order = ("sample", *plain_dims), (None, *order)
    attrs = {"role": "state" if "time" in plain_dims else "output"}
    if not parts:
        return {name: lazy(plain_dims, StoredArray(handle, name, order=order), attrs)}
    labels = axes if parts == len(axes) else tuple(map(str, range(parts)))
    views = (StoredArray(handle, name, order=order, fixed={len(dims) - 1: i}) for i in range(parts))
    return {
        f"{name}_{label}": lazy(plain_dims, view, dict(attrs))
        for label, view in zip(labels, views, strict=True)
    }


def _is_parameter(dataset: Any, geometry: Geometry) -> bool:
    shape = list(getattr(dataset, "shape", None) or ())
    return (
        1 <= len(shape) <= 2
        and shape[0] == geometry.samples
        and (len(shape) == 1 or shape[1] <= MAX_COMPONENTS)
    )


def _parameter(name: str, values: np.ndarray) -> dict[str, xr.Variable]:
    if values.ndim == 1:
        return {name: xr.Variable(("sample",), values, {"role": "parameter"})}
    return {
        f"{name}_{i}": xr.Variable(("sample",), v, {"role": "parameter"})
        for i, v in enumerate(values.T)
    }
