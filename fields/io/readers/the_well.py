"""The Well: HDF5 with groups ``t0_fields`` … ``t2_fields``, ``dimensions``, ``scalars`` and ``boundary_conditions``.

A field has an axis for samples, time or a space dimension only where its flags ``sample_varying``,
``time_varying``, ``dim_varying`` say so; the axes it lacks are repeated. Components of vectors and
tensors become variables of their own, in The Well's channel order: ``velocity_x``, ``D_xy``. A
dataset's folder (``data/{train,valid,test}/*.hdf5``) opens as one, with its split.

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

from fields.io.attributes import plain
from fields.io.base import DataError, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.folders import join_samples, split_files
from fields.io.grid import axis, common_axis
from fields.io.handles import HDF5Handle, open_hdf5, subgroup
from fields.io.lazy import StoredArray, lazy


class TheWell(Reader):
    """One file of The Well, or the folder of a dataset with its splits."""

    layout = "the_well"

    def recognizes(self, path: Path) -> bool:
        """By the groups ``dimensions`` and ``t0_fields``."""
        if path.is_dir():
            files = split_files(path)
            return bool(files) and self.recognizes(files[0][0])
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return "dimensions" in file and any(f"t{rank}_fields" in file for rank in range(3))

    def open(self, path: Path) -> xr.Dataset:
        """Opens a file or a folder."""
        if path.is_dir():
            return join_samples([(_open(file), split) for file, split in split_files(path)], path)
        return check(_open(path), path)


def _open(path: Path) -> xr.Dataset:
    handle = HDF5Handle(path)
    file = handle.file
    axes = tuple(_words(file["dimensions"], "spatial_dims", path))
    samples = int(plain(file.attrs.get("n_trajectories", 0))) or _count_samples(file)
    coords = _coordinates(file["dimensions"], _boundaries(file, axes), path)
    sizes = {"sample": samples, **{name: coords[name].size for name in ("time", *axes)}}
    variables: dict[str, xr.Variable] = {}
    for rank in range(3):
        group = subgroup(file, f"t{rank}_fields")
        for name in _words(group, "field_names", path) if group else ():
            variables |= _field(handle, f"t{rank}_fields/{name}", rank, axes, sizes)
    scalars, forcing = _scalars(file, path)
    attrs = {"layout": TheWell.layout, "problem": str(plain(file.attrs.get("dataset_name", "")))}
    if "grid_type" in file.attrs:
        attrs["grid_type"] = str(plain(file.attrs["grid_type"]))
    ds = xr.Dataset(variables | scalars, coords | forcing, attrs)
    ds.set_close(handle.close)
    return ds


def _words(group: h5py.Group, key: str, path: Path) -> list[str]:
    """A list of names; an empty one is stored as an empty array of floats."""
    if key not in group.attrs:
        raise DataError(
            f"{path}: group `{group.name}` has no attribute `{key}`. The file is incomplete: get it again."
        )
    value = np.ravel(np.asarray(group.attrs[key]))
    return [] if value.dtype.kind == "f" else [str(plain(word)) for word in value]


def _count_samples(file: h5py.File) -> int:
    for rank in range(3):
        for dataset in (subgroup(file, f"t{rank}_fields") or {}).values():
            if dataset.attrs.get("sample_varying", True):
                return dataset.shape[0]
    return 1


def _coordinates(
    group: h5py.Group, sides: dict[str, list[str]], path: Path
) -> dict[str, xr.Variable]:
    coords: dict[str, xr.Variable] = {}
    for name in ("time", *sides):
        if name not in group:
            raise DataError(
                f"{path}: `dimensions` has no `{name}`. The file is incomplete: get it again."
            )
        values = np.asarray(group[name])
        if plain(group[name].attrs.get("time_varying", False)) and name != "time":
            raise DataError(f"{path}: the axis `{name}` moves in time, which is not supported.")
        attrs: dict[str, Any] = {}
        if name != "time":
            attrs = {
                "periodic": sides[name] == ["periodic", "periodic"],
                "boundary": " ".join(sides[name]),
            }
        if values.ndim == 2:
            coords |= common_axis(name, values, **attrs)
        else:
            coords[name] = (
                xr.Variable(("time",), values) if name == "time" else axis(name, values, **attrs)
            )
    return coords


def _boundaries(file: h5py.File, axes: tuple[str, ...]) -> dict[str, list[str]]:
    """Condition at the low and high end of each axis; ``open`` where none is given, several joined by ``/``."""
    found: dict[str, list[set[str]]] = {name: [set(), set()] for name in axes}
    for group in (subgroup(file, "boundary_conditions") or {}).values():
        kind = str(plain(group.attrs.get("bc_type", "open"))).lower()
        dims = [str(plain(name)) for name in np.ravel(group.attrs.get("associated_dims", []))]
        mask = np.asarray(group["mask"]) if "mask" in group else np.ones([2] * len(dims), bool)
        for i, name in enumerate(dims):
            for end in (0, -1):
                if name in found and mask.ndim == len(dims) and mask.take(end, axis=i).any():
                    found[name][end].add(kind)
    return {
        name: ["/".join(sorted(kinds)) or "open" for kinds in ends] for name, ends in found.items()
    }


def _field(
    handle: HDF5Handle, name: str, rank: int, axes: tuple[str, ...], sizes: dict[str, int]
) -> dict[str, Any]:
    dataset = handle.array(name)
    in_time = bool(plain(dataset.attrs.get("time_varying", True)))
    varying = {"sample": bool(plain(dataset.attrs.get("sample_varying", True))), "time": in_time}
    flags = np.ravel(dataset.attrs.get("dim_varying", np.ones(len(axes), bool)))
    varying |= dict(zip(axes, map(bool, flags), strict=True))
    dims = ("sample", "time", *axes) if in_time else ("sample", *axes)
    stored = [dim for dim in dims if varying[dim]]
    if dataset.ndim != len(stored) + rank:
        raise DataError(
            f"{handle.path}: `{name}` has shape {dataset.shape}, but its flags say axes ({', '.join(stored)}) "
            f"and {rank} for components. Correct the flags."
        )
    for dim, size in zip(stored, dataset.shape, strict=False):
        if size != sizes[dim]:
            raise DataError(
                f"{handle.path}: `{name}` has {size} entries along {dim}, its coordinate has {sizes[dim]}."
            )
    order = [stored.index(dim) if varying[dim] else None for dim in dims]
    lengths = {i: sizes[dim] for i, dim in enumerate(dims) if not varying[dim]}
    role, short = "state" if in_time else "input", name.split("/", 1)[1]
    views = {}
    for component in itertools.product(range(len(axes)), repeat=rank):
        fixed = {len(stored) + i: c for i, c in enumerate(component)}
        label = short + "".join(["_", *(axes[c] for c in component)]) if rank else short
        views[label] = lazy(
            dims,
            StoredArray(handle, name, order=order, fixed=fixed, lengths=lengths),
            {"role": role},
        )
    return views


def _scalars(file: h5py.File, path: Path) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Constants (parameters) and scalars that vary in time (kept as coordinates)."""
    constants, varying = {}, {}
    group = subgroup(file, "scalars")
    if group is None:
        return {}, {}
    for name in _words(group, "field_names", path):
        attrs = group[name].attrs
        dims = tuple(d for d in ("sample", "time") if plain(attrs.get(f"{d}_varying", False)))
        variable = xr.Variable(dims, np.asarray(group[name]), {"role": "parameter"})
        if "time" in dims:
            varying[name] = xr.Variable(dims, variable.values)
        else:
            constants[name] = variable
    return constants, varying
