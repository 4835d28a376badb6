"""Point clouds and meshes in HDF5: values at scattered points, which may differ between samples.

Points are ``x``, ``y`` (``z``) of shape (P) or (N, P), or one array ``xy``, ``points``, ``pos``, …
of shape (P, d) or (N, P, d). The last axis of a field is the point axis, or one for components
after it: (P), (N, P), (T, P) with ``t`` (T), (N, T, P), (…, P, C). Arrays (N) and (N, k) without a
point axis are parameters. Integers (K, 3) or (K, 4) named ``triangles``, ``cells``, … are the mesh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, Specificity, check_canonical
from fields.io.hdf5 import HDF5Handle, get_attribute, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5

# Names of one array with all coordinates.
JOINT_NAMES = ("xy", "xyz", "points", "vertices", "nodes", "pos", "coords", "coordinates")

MESH_NAMES = ("triangles", "cells", "elements", "faces", "connectivity")

TIME_NAMES = ("t", "time", "times")

MAX_COMPONENTS = 9  # a last axis of at most this length is one of components


class PointCloud(Reader):
    """Fields at scattered points in the root group of an HDF5 file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mesh.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["points"] = np.zeros((20, 2))
        ...     file["u"] = np.zeros((5, 20))
        >>> ds = PointCloud().open(path)
        >>> ds["u"].dims, ds["x"].dims
        (('sample', 'point'), ('point',))
    """

    layout = "points"
    specificity = Specificity.SHAPES

    def recognizes(self, path: Path) -> bool:
        """By coordinates that share their point axis with a field."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            geometry = PointGeometry.of_file(file)
            return geometry is not None and any(
                geometry.field_dims(file, name) for name in map(str, file)
            )

    def open(self, path: Path) -> xr.Dataset:
        """The fields of the file on its points, with its constants as parameters."""
        handle = HDF5Handle(path)
        geometry = PointGeometry.of_file(handle.file)
        assert geometry is not None
        variables: dict[str, xr.Variable] = {}
        for name in handle.file:
            dims = geometry.field_dims(handle.file, name)
            if dims:
                variables |= _field(handle, name, dims, geometry.axes)
            elif geometry.samples and _is_parameter(handle.file[name], geometry.samples):
                variables |= _parameters(name, np.asarray(handle.array(name)))
        ds = xr.Dataset(variables, _coordinates(handle, geometry), {"layout": self.layout})
        problem = get_attribute(handle.file, "pde")
        if problem is not None:
            ds.attrs["problem"] = str(problem)
        ds.set_close(handle.close)
        return check_canonical(ds, path)


class PointGeometry(NamedTuple):
    """Where the points of a file are stored and which axes they share with the fields.

    Attributes:
        joint: name of one array of all coordinates; None if each axis has its own.
        axes: names of the space axes.
        points: number of points P.
        samples: number of samples N; None if the points are the same for all samples.
        time: name of the array of times, if there is one.
        frames: number of times.

    Example:
        >>> geometry = PointGeometry("points", ("x", "y"), 20, None, None, 0)
        >>> geometry.points
        20
    """

    joint: str | None
    axes: tuple[str, ...]
    points: int
    samples: int | None
    time: str | None
    frames: int

    @classmethod
    def of_file(cls, file: h5py.File) -> PointGeometry | None:
        """The geometry in the root group; None if the file is not a point cloud."""
        shapes: dict[str, tuple[int, ...]] = {
            name: tuple(d.shape or ()) for name, d in file.items() if isinstance(d, h5py.Dataset)
        }
        time = next((name for name in TIME_NAMES if len(shapes.get(name, ())) == 1), None)
        frames = shapes[time][0] if time else 0
        for name in JOINT_NAMES:
            shape = shapes.get(name, ())
            if len(shape) in (2, 3) and shape[-1] in (2, 3) and shape[-2] > 3:
                samples = shape[0] if len(shape) == 3 else None
                axes = ("x", "y", "z")[: shape[-1]]
                return cls(name, axes, shape[-2], samples, time, frames)
        axes = tuple(name for name in ("x", "y", "z") if name in shapes)
        same_shape = len({shapes[name] for name in axes}) == 1
        if axes[:2] != ("x", "y") or not same_shape or len(shapes["x"]) not in (1, 2):
            return None
        points = shapes["x"][-1]
        # The coordinates x (n), y (n) of a square grid: fields have two axes of this length.
        square_grid = any(shape.count(points) > 1 for shape in shapes.values())
        if len(shapes["x"]) == 1 and square_grid:
            return None
        samples = shapes["x"][0] if len(shapes["x"]) == 2 else None
        return cls(None, axes, points, samples, time, frames)

    def field_dims(self, file: h5py.File, name: str) -> tuple[str, ...]:
        """Dimensions of a field, ``component`` last if it has several; () if it is not a field."""
        dataset = file[name]
        reserved = (*self.axes, self.joint, self.time, *MESH_NAMES)
        if name in reserved or not isinstance(dataset, h5py.Dataset):
            return ()
        sizes = tuple(dataset.shape or ())
        tail: tuple[str, ...] = ("point",)
        if len(sizes) > 1 and sizes[-1] <= MAX_COMPONENTS and sizes[-2] == self.points:
            sizes = sizes[:-1]
            tail = ("point", "component")
        if not sizes or sizes[-1] != self.points:
            return ()
        match sizes[:-1]:
            case ():
                return tail
            case (n, t) if self.time and t == self.frames and n == (self.samples or n):
                return ("sample", "time", *tail)
            case (t,) if self.time and t == self.frames and self.samples in (None, 1):
                return ("time", *tail)
            case (n,) if n == (self.samples or n):
                return ("sample", *tail)
        return ()


def _coordinates(handle: HDF5Handle, geometry: PointGeometry) -> dict[str, Any]:
    dims = ("sample", "point") if geometry.samples else ("point",)
    coords: dict[str, Any] = {}
    for i, name in enumerate(geometry.axes):
        fixed = {len(dims): i} if geometry.joint else {}
        coords[name] = lazy_variable(dims, StoredArray(handle, geometry.joint or name, fixed=fixed))
    if geometry.time:
        coords["time"] = ("time", np.asarray(handle.array(geometry.time)))
    for name in MESH_NAMES:
        if name not in handle.file:
            continue
        cells = handle.array(name)
        if cells.ndim == 2 and cells.dtype.kind in "iu":
            values = np.asarray(cells)
            if values.size and (values.min() < 0 or values.max() >= geometry.points):
                raise DataError(
                    f"{handle.path}: `{name}` refers to point {values.max()}, but the file has "
                    f"{geometry.points} points, counted from 0."
                )
            coords["triangles"] = (("triangle", "corner"), values)
    return coords


def _field(
    handle: HDF5Handle, name: str, stored_dims: tuple[str, ...], axes: tuple[str, ...]
) -> dict[str, xr.Variable]:
    """The field as one variable, or one per component."""
    dims = tuple(dim for dim in stored_dims if dim != "component")
    order: tuple[int | None, ...] = tuple(range(len(dims)))
    if dims[0] != "sample":
        dims = ("sample", *dims)
        order = (None, *order)
    role = "state" if "time" in dims else "output"
    if stored_dims[-1] != "component":
        return {name: lazy_variable(dims, StoredArray(handle, name, order=order), {"role": role})}
    components = handle.array(name).shape[-1]
    labels = axes if components == len(axes) else tuple(map(str, range(components)))
    variables = {}
    for i, label in enumerate(labels):
        array = StoredArray(handle, name, order=order, fixed={len(stored_dims) - 1: i})
        variables[f"{name}_{label}"] = lazy_variable(dims, array, {"role": role})
    return variables


def _is_parameter(dataset: Any, samples: int) -> bool:
    shape: Any = getattr(dataset, "shape", None) or ()
    if len(shape) not in (1, 2) or shape[0] != samples:
        return False
    return len(shape) == 1 or shape[1] <= MAX_COMPONENTS


def _parameters(name: str, values: np.ndarray) -> dict[str, xr.Variable]:
    if values.ndim == 1:
        return {name: xr.Variable(("sample",), values, {"role": "parameter"})}
    return {
        f"{name}_{i}": xr.Variable(("sample",), column, {"role": "parameter"})
        for i, column in enumerate(values.T)
    }
