"""PDEBench's other two flavours: one group per sample, and inhomogeneous incompressible flow.

Groups ``0000``, ``0001`` … each hold ``data`` (T, X, C) or (T, X, Y, C) and ``grid/x``, ``grid/t``,
``grid/y``: diffusion–sorption (1-D, one channel), diffusion–reaction (2-D, two channels), shallow
water (2-D, one channel). Diffusion–reaction is stored T, **Y, X**, C although PDEBench's own loader
takes it for T, X, Y, C.

Incompressible flow holds ``velocity`` (N, T, X, Y, 2), ``particles`` (N, T, X, Y, 1), ``force`` (N,
X, Y, 2) and ``t`` (N, T), no space coordinates: cell centers of the unit square are assumed.

Reference: Takamoto et al., NeurIPS 2022 datasets track; schemas as written by
``pdebench/data_gen``.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from fields.io.attributes import plain
from fields.io.base import DataError, Reader, check
from fields.io.concatenated import ConcatenatedArray, Groups
from fields.io.diagnose import is_hdf5
from fields.io.grid import axis, bounds_of_cells, common_axis
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy
from fields.io.readers.pdebench import SQUARE

PROBLEMS = {  # by space axes and channels: problem, names of the channels, symmetries
    (1, 1): ("diffusion_sorption", ("u",), []),
    (2, 2): ("diffusion_reaction", ("u", "v"), SQUARE),
    (2, 1): ("shallow_water", ("h",), SQUARE),
}


class PDEBenchGroups(Reader):
    """One HDF5 group per sample."""

    layout = "pdebench_groups"

    def recognizes(self, path: Path) -> bool:
        """By groups that hold ``data`` and ``grid``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            first = next(iter(file), None)
            group = file[first] if first is not None else None
            return isinstance(group, h5py.Group) and "data" in group and "grid" in group

    def open(self, path: Path) -> xr.Dataset:
        """Opens the file; the grid is that of the first sample."""
        handle = HDF5Handle(path)
        names = sorted(handle.file)
        first = handle.file[names[0]]
        shape = first["data"].shape
        space = ("x", "y")[: len(shape) - 2]
        if (len(space), shape[-1]) not in PROBLEMS:
            raise DataError(
                f"{path}: `data` of shape {shape} is neither (T, X, 1), (T, X, Y, 1) nor (T, Y, X, 2)."
            )
        problem, channels, symmetries = PROBLEMS[len(space), shape[-1]]
        stored = ("time", "y", "x") if problem == "diffusion_reaction" else ("time", *space)
        order = (None, *(stored.index(dim) for dim in ("time", *space)))
        coords = {"time": xr.Variable(("time",), np.asarray(first["grid/t"])[: shape[0]])}
        for name in space:
            centers = np.asarray(first[f"grid/{name}"])
            coords[name] = xr.Variable(
                (name,), centers, {"periodic": 0, "bounds": bounds_of_cells(centers)}
            )
        sizes = {"sample": len(names), **{name: variable.size for name, variable in coords.items()}}
        dims = ("sample", "time", *space)
        shapes = [(1, *(shape[stored.index(dim)] for dim in dims[1:]))] * len(names)
        data = [f"{name}/data" for name in names]
        variables = {}
        for i, channel in enumerate(channels):
            parts = Groups(handle, data, order=order, fixed={len(shape) - 1: i})
            array = ConcatenatedArray(parts, shapes=shapes, dtype=first["data"].dtype)
            variables[channel] = lazy(dims, array, {"role": "state"})
            if array.shape != tuple(sizes[dim] for dim in dims):
                raise DataError(
                    f"{path}: `data` has shape {shape}, its grid {sizes}; they must agree."
                )
        attrs = {"layout": self.layout, "problem": problem}
        if symmetries:
            attrs["symmetries"] = json.dumps(symmetries)
        if "config" in first.attrs:
            attrs["protocol"] = json.dumps({"config": str(plain(first.attrs["config"]))})
        ds = xr.Dataset(variables, coords, attrs)
        ds.set_close(handle.close)
        return check(ds, path)


class PDEBenchIncompressible(Reader):
    """``velocity``, ``particles``, ``force`` and ``t`` in the root group."""

    layout = "pdebench_incompressible"

    def recognizes(self, path: Path) -> bool:
        """By these four names."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return all(name in file for name in ("velocity", "particles", "force", "t"))

    def open(self, path: Path) -> xr.Dataset:
        """Opens the file."""
        handle = HDF5Handle(path)
        shape = handle.array("velocity").shape
        samples, frames, *grid = shape[:-1]
        if handle.array("force").shape[:3] != (samples, *grid) or handle.array("t").shape != (
            samples,
            frames,
        ):
            raise DataError(
                f"{path}: `velocity` is {shape}, `force` {handle.array('force').shape}; they must agree."
            )
        dims, still = ("sample", "time", "x", "y"), ("sample", "x", "y")
        variables = {}
        for i, a in enumerate(("x", "y")):
            variables[f"velocity_{a}"] = lazy(
                dims, StoredArray(handle, "velocity", fixed={4: i}), {"role": "state"}
            )
            variables[f"force_{a}"] = lazy(
                still, StoredArray(handle, "force", fixed={3: i}), {"role": "input"}
            )
        variables["particles"] = lazy(
            dims, StoredArray(handle, "particles", fixed={4: 0}), {"role": "state"}
        )
        assumed = {
            "periodic": False,
            "long_name": "cell centers of the unit square (assumed: the file has none)",
        }
        coords = common_axis("time", np.asarray(handle.array("t")))
        coords |= {
            name: axis(name, (np.arange(n) + 0.5) / n, **assumed)
            for name, n in zip("xy", grid, strict=True)
        }
        ds = xr.Dataset(
            variables, coords, {"layout": self.layout, "problem": "incompressible_flow"}
        )
        ds.set_close(handle.close)
        return check(ds, path)
