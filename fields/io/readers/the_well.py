"""The Well: HDF5 with the groups ``t0_fields``, ``t1_fields``, ``t2_fields`` and ``dimensions``.

A field has an axis for samples, time or a space dimension only where its flags ``sample_varying``,
``time_varying``, ``dim_varying`` say so; values are repeated along the missing axes. Components of
vectors and tensors become variables of their own, in The Well's order of channels: ``velocity_x``,
``D_xy``. The folder of a dataset (``data/{train,valid,test}/*.hdf5``) opens as one dataset with its
split.

Reference: Ohana et al., NeurIPS 2024 datasets track; polymathic-ai/the_well
``docs/data_format.md``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.folders import concatenate_samples, split_files
from fields.io.grid import coordinates_per_sample, space_coordinate
from fields.io.hdf5 import HDF5Handle, get_attribute, get_group, get_item, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5

RANKS = (0, 1, 2)  # scalars, vectors, tensors


class TheWell(Reader):
    """One file of The Well, or the folder of a dataset with its splits.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.hdf5"
        >>> with h5py.File(path, "w") as file:
        ...     file["dimensions/time"] = np.arange(3.0)
        ...     file["dimensions/x"] = np.arange(8) / 8
        ...     file["dimensions"].attrs["spatial_dims"] = ["x"]
        ...     file["t0_fields/density"] = np.zeros((2, 3, 8))
        ...     file["t0_fields"].attrs["field_names"] = ["density"]
        >>> dict(TheWell().open(path).sizes)
        {'sample': 2, 'time': 3, 'x': 8}
    """

    layout = "the_well"
    engine = "the_well"

    def recognizes(self, path: Path) -> bool:
        """By the groups ``dimensions`` and ``t0_fields``."""
        if path.is_dir():
            files = split_files(path)
            return bool(files) and self.recognizes(files[0][0])
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return "dimensions" in file and any(f"t{rank}_fields" in file for rank in RANKS)

    def open(self, path: Path) -> xr.Dataset:
        """Open a file, or all files of a folder."""
        if path.is_dir():
            parts = [(_open_file(file), split) for file, split in split_files(path)]
            return concatenate_samples(parts, path)
        return check_canonical(_open_file(path), path)


def _open_file(path: Path) -> xr.Dataset:
    handle = HDF5Handle(path)
    file = handle.file
    axes = tuple(_names(file["dimensions"], "spatial_dims", path))
    samples = int(get_attribute(file, "n_trajectories", 0)) or _count_samples(file)
    coords = _coordinates(handle, _boundaries(handle, axes))
    sizes = {"sample": samples, **{name: coords[name].size for name in ("time", *axes)}}
    variables: dict[str, xr.Variable] = {}
    for rank in RANKS:
        group = get_group(file, f"t{rank}_fields")
        for name in _names(group, "field_names", path) if group else ():
            variables |= _field(handle, f"t{rank}_fields/{name}", rank, axes, sizes)
    constants, varying = _scalars(handle)
    problem = str(get_attribute(file, "dataset_name", ""))
    attrs = {"layout": TheWell.layout, "problem": problem}
    grid_type = get_attribute(file, "grid_type")
    if grid_type is not None:
        attrs["grid_type"] = str(grid_type)
    ds = xr.Dataset(variables | constants, coords | varying, attrs)
    ds.set_close(handle.close)
    return ds


def _names(group: h5py.Group, key: str, path: Path) -> list[str]:
    """An attribute that lists names; an empty list is stored as an empty array of floats."""
    value = get_attribute(group, key)
    if value is None:
        raise DataError(
            f"{path}: the group `{group.name}` has no attribute `{key}`. The file is incomplete. "
            "Download it again."
        )
    words = np.ravel(np.asarray(value))
    return [] if words.dtype.kind == "f" else [str(word) for word in words]


def _count_samples(file: h5py.File) -> int:
    for rank in RANKS:
        for dataset in (get_group(file, f"t{rank}_fields") or {}).values():
            if get_attribute(dataset, "sample_varying", True):
                return dataset.shape[0]
    return 1


def _values(handle: HDF5Handle, item: h5py.Dataset) -> np.ndarray:
    return np.asarray(handle.array(str(item.name)))


def _coordinates(handle: HDF5Handle, boundaries: dict[str, list[str]]) -> dict[str, xr.Variable]:
    path = handle.path
    group = handle.file["dimensions"]
    coords: dict[str, xr.Variable] = {}
    for name in ("time", *boundaries):
        if name not in group:
            raise DataError(
                f"{path}: the group `dimensions` has no `{name}`. The file is incomplete. "
                "Download it again."
            )
        values = _values(handle, group[name])
        if get_attribute(group[name], "time_varying", False) and name != "time":
            raise DataError(f"{path}: the axis `{name}` varies in time, which is not supported.")
        attrs: dict[str, Any] = {}
        if name != "time":
            attrs["periodic"] = boundaries[name] == ["periodic", "periodic"]
            attrs["boundary"] = " ".join(boundaries[name])
        if values.ndim == 2:
            coords |= coordinates_per_sample(name, values, **attrs)
        elif name == "time":
            coords[name] = xr.Variable(("time",), values)
        else:
            coords[name] = space_coordinate(name, values, **attrs)
    return coords


def _boundaries(handle: HDF5Handle, axes: tuple[str, ...]) -> dict[str, list[str]]:
    """The boundary conditions at the lower and upper end of each axis.

    Several conditions at one end are joined by ``/``; an end without one is ``open``.
    """
    found: dict[str, list[set[str]]] = {name: [set(), set()] for name in axes}
    for group in (get_group(handle.file, "boundary_conditions") or {}).values():
        kind = str(get_attribute(group, "bc_type", "open")).lower()
        dims = [str(name) for name in np.ravel(get_attribute(group, "associated_dims", []))]
        stored = get_item(group, "mask")
        mask = np.ones([2] * len(dims), bool) if stored is None else _values(handle, stored)
        for i, name in enumerate(dims):
            for end in (0, -1):
                if name in found and mask.ndim == len(dims) and mask.take(end, axis=i).any():
                    found[name][end].add(kind)
    return {
        name: ["/".join(sorted(kinds)) or "open" for kinds in ends] for name, ends in found.items()
    }


def _field(
    handle: HDF5Handle, name: str, rank: int, axes: tuple[str, ...], sizes: dict[str, int]
) -> dict[str, xr.Variable]:
    """The variables of one field, one per component of a vector or tensor."""
    item = get_item(handle.file, name)
    shape = handle.array(name).shape
    in_time = bool(get_attribute(item, "time_varying", True))
    in_sample = bool(get_attribute(item, "sample_varying", True))
    in_space = map(bool, np.ravel(get_attribute(item, "dim_varying", (True,) * len(axes))))
    varying = {"sample": in_sample, "time": in_time, **dict(zip(axes, in_space, strict=True))}
    dims = ("sample", "time", *axes) if in_time else ("sample", *axes)
    stored = [dim for dim in dims if varying[dim]]
    _check_shape(handle.path, name, shape, stored, rank, sizes)
    order = [stored.index(dim) if varying[dim] else None for dim in dims]
    lengths = {i: sizes[dim] for i, dim in enumerate(dims) if not varying[dim]}
    role = "state" if in_time else "input"
    stem = name.split("/", 1)[1]
    variables = {}
    for component in itertools.product(range(len(axes)), repeat=rank):
        fixed = {len(stored) + i: c for i, c in enumerate(component)}
        label = stem + "".join(["_", *(axes[c] for c in component)]) if rank else stem
        array = StoredArray(handle, name, order=order, fixed=fixed, lengths=lengths)
        variables[label] = lazy_variable(dims, array, {"role": role})
    return variables


def _check_shape(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    stored: list[str],
    rank: int,
    sizes: dict[str, int],
) -> None:
    if len(shape) != len(stored) + rank:
        raise DataError(
            f"{path}: `{name}` has the shape {shape}, but its flags describe the axes "
            f"({', '.join(stored)}) and {rank} axes of components. Correct the flags."
        )
    for dim, size in zip(stored, shape, strict=False):
        if size != sizes[dim]:
            raise DataError(
                f"{path}: `{name}` has {size} entries along {dim}, but the coordinate has "
                f"{sizes[dim]}."
            )


def _scalars(handle: HDF5Handle) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Constants, which are parameters, and scalars that vary in time, which are coordinates."""
    constants: dict[str, xr.Variable] = {}
    varying: dict[str, xr.Variable] = {}
    group = get_group(handle.file, "scalars")
    if group is None:
        return constants, varying
    for name in _names(group, "field_names", handle.path):
        item = get_item(group, name)
        dims = tuple(
            dim for dim in ("sample", "time") if get_attribute(item, f"{dim}_varying", False)
        )
        values = _values(handle, item)
        if "time" in dims:
            varying[name] = xr.Variable(dims, values)
        else:
            constants[name] = xr.Variable(dims, values, {"role": "parameter"})
    return constants, varying
