"""PDEBench's other two formats: one group per sample, and inhomogeneous incompressible flow.

Groups ``0000``, ``0001``, … each contain ``data`` (T, X, C) or (T, X, Y, C) and ``grid/x``,
``grid/t``, ``grid/y``: diffusion–sorption (1-D, one channel), diffusion–reaction (2-D, two
channels), shallow water (2-D, one channel). Diffusion–reaction is stored as (T, **Y, X**, C),
although PDEBench's own loader takes it for (T, X, Y, C).

Incompressible flow has ``velocity`` (N, T, X, Y, 2), ``particles`` (N, T, X, Y, 1), ``force`` (N,
X, Y, 2) and ``t`` (N, T), but no space coordinates: cell centers of the unit square are assumed.

Reference: Takamoto et al., NeurIPS 2022 datasets track; format as written by ``pdebench/data_gen``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.concatenated import ConcatenatedArray, GroupArrays
from fields.io.grid import (
    SQUARE_SYMMETRIES,
    cell_center_bounds,
    coordinates_per_sample,
    space_coordinate,
)
from fields.io.hdf5 import HDF5Handle, get_attribute, get_item, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5

# (space axes, channels): problem, names of the channels, symmetries
PROBLEMS = {
    (1, 1): ("diffusion_sorption", ("u",), []),
    (2, 2): ("diffusion_reaction", ("u", "v"), SQUARE_SYMMETRIES),
    (2, 1): ("shallow_water", ("h",), SQUARE_SYMMETRIES),
}


class PDEBenchGroups(Reader):
    """One HDF5 group per sample.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "1D_diff-sorp.h5"
        >>> with h5py.File(path, "w") as file:
        ...     for sample in ("0000", "0001"):
        ...         file[f"{sample}/data"] = np.zeros((3, 8, 1))
        ...         file[f"{sample}/grid/x"] = (np.arange(8) + 0.5) / 8
        ...         file[f"{sample}/grid/t"] = np.arange(3.0)
        >>> dict(PDEBenchGroups().open(path).sizes)
        {'sample': 2, 'time': 3, 'x': 8}
    """

    layout = "pdebench_groups"
    engine = "pdebench"

    def recognizes(self, path: Path) -> bool:
        """By a first group with ``data`` and ``grid``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            first = next(iter(file), None)
            group = None if first is None else get_item(file, first)
            return isinstance(group, h5py.Group) and "data" in group and "grid" in group

    def open(self, path: Path) -> xr.Dataset:
        """Open the file; the grid of the first sample is that of all samples."""
        handle = HDF5Handle(path)
        names = sorted(handle.file)
        first = handle.file[names[0]]
        shape = first["data"].shape
        space = ("x", "y")[: len(shape) - 2]
        if (len(space), shape[-1]) not in PROBLEMS:
            raise DataError(
                f"{path}: `data` has the shape {shape}, expected (T, X, 1), (T, X, Y, 1) or "
                "(T, Y, X, 2)."
            )
        problem, channels, symmetries = PROBLEMS[len(space), shape[-1]]
        stored = ("time", "y", "x") if problem == "diffusion_reaction" else ("time", *space)
        coords = _coordinates(handle, names[0], shape[0], space)
        variables = _variables(handle, names, channels, stored, ("time", *space))
        for variable in variables.values():
            if variable.shape != (len(names), *(coords[dim].size for dim in ("time", *space))):
                sizes = {name: coordinate.size for name, coordinate in coords.items()}
                raise DataError(
                    f"{path}: `data` has the shape {shape}, which does not match the sizes of its "
                    f"grid {sizes}."
                )
        attrs = {"layout": self.layout, "problem": problem}
        if symmetries:
            attrs["symmetries"] = json.dumps(symmetries)
        config = get_attribute(first, "config")
        if config is not None:
            attrs["protocol"] = json.dumps({"config": str(config)})
        ds = xr.Dataset(variables, coords, attrs)
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _coordinates(
    handle: HDF5Handle, sample: str, frames: int, space: tuple[str, ...]
) -> dict[str, xr.Variable]:
    times = np.asarray(handle.array(f"{sample}/grid/t"))[:frames]
    coords = {"time": xr.Variable(("time",), times)}
    for name in space:
        centers = np.asarray(handle.array(f"{sample}/grid/{name}"))
        attrs = {"periodic": 0, "bounds": cell_center_bounds(centers)}
        coords[name] = xr.Variable((name,), centers, attrs)
    return coords


def _variables(
    handle: HDF5Handle,
    names: list[str],
    channels: tuple[str, ...],
    stored: tuple[str, ...],
    dims: tuple[str, ...],
) -> dict[str, xr.Variable]:
    """One variable per channel, from the axes ``stored`` of ``data`` to the axes ``dims``."""
    data = handle.file[names[0]]["data"]
    order = (None, *(stored.index(dim) for dim in dims))
    shapes = [(1, *(data.shape[stored.index(dim)] for dim in dims))] * len(names)
    variables = {}
    for i, channel in enumerate(channels):
        parts: Any = GroupArrays(
            handle, [f"{name}/data" for name in names], order=order, fixed={len(stored): i}
        )
        array = ConcatenatedArray(parts, shapes=shapes, dtype=data.dtype)
        variables[channel] = lazy_variable(("sample", *dims), array, {"role": "state"})
    return variables


class PDEBenchIncompressible(Reader):
    """``velocity``, ``particles``, ``force`` and ``t`` in the root group.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ns_incom.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["velocity"] = np.zeros((2, 3, 4, 4, 2))
        ...     file["particles"] = np.zeros((2, 3, 4, 4, 1))
        ...     file["force"] = np.zeros((2, 4, 4, 2))
        ...     file["t"] = np.tile(np.arange(3.0), (2, 1))
        >>> dict(PDEBenchIncompressible().open(path).sizes)
        {'sample': 2, 'time': 3, 'x': 4, 'y': 4}
    """

    layout = "pdebench_incompressible"
    engine = "pdebench"

    def recognizes(self, path: Path) -> bool:
        """By these four names."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return all(name in file for name in ("velocity", "particles", "force", "t"))

    def open(self, path: Path) -> xr.Dataset:
        """The velocity and the particles as functions of time, with the force as an input."""
        handle = HDF5Handle(path)
        shape = handle.array("velocity").shape
        samples, frames, *grid = shape[:-1]
        force = handle.array("force").shape
        times = handle.array("t").shape
        if force[:3] != (samples, *grid) or times != (samples, frames):
            raise DataError(
                f"{path}: the shapes of `velocity` {shape}, `force` {force} and `t` {times} do "
                "not match."
            )
        dims = ("sample", "time", "x", "y")
        still = ("sample", "x", "y")
        variables = {}
        for i, axis in enumerate(("x", "y")):
            velocity = StoredArray(handle, "velocity", fixed={4: i})
            force = StoredArray(handle, "force", fixed={3: i})
            variables[f"velocity_{axis}"] = lazy_variable(dims, velocity, {"role": "state"})
            variables[f"force_{axis}"] = lazy_variable(still, force, {"role": "input"})
        particles = StoredArray(handle, "particles", fixed={4: 0})
        variables["particles"] = lazy_variable(dims, particles, {"role": "state"})
        coords = coordinates_per_sample("time", np.asarray(handle.array("t")))
        assumed = "cell centers of the unit square (assumed: the file has none)"
        for name, n in zip("xy", grid, strict=True):
            centers = (np.arange(n) + 0.5) / n
            coords[name] = space_coordinate(name, centers, periodic=False, long_name=assumed)
        attrs = {"layout": self.layout, "problem": "incompressible_flow"}
        ds = xr.Dataset(variables, coords, attrs)
        ds.set_close(handle.close)
        return check_canonical(ds, path)
