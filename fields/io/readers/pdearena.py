"""pdearena and MP-PDE solvers: one HDF5 group named ``train``, ``valid`` or ``test`` holds everything.

Smoke in a closed box: ``u``, ``vx``, ``vy`` (N, T, X, Y), ``t`` (N, T), ``x`` (N, X), ``y`` (N, Y),
buoyancy ``buo_y`` (N). One-dimensional equations: ``pde_{T}-{X}`` (N, T, X), with ``dt``, ``dx``
and constants per sample, or with ``x``, ``tmin``, ``tmax`` as attributes. Maxwell: ``d_field``,
``h_field`` (N, T, X, Y, Z, 3), no coordinates.

Shallow water on the sphere is a folder of netCDF files, ``seed=*/run*/output.nc``, one trajectory
each, perhaps in folders ``train``, ``valid``, ``test``; beside it lies ``normstats.pt``, which is
not needed.

Reference: Gupta & Brandstetter, TMLR 2023 (``pdearena/data``); Brandstetter, Worrall & Welling,
ICLR 2022.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import SPLITS, DataError, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.folders import FOLDERS, join_samples
from fields.io.grid import axis, common_axis
from fields.io.handles import HDF5Handle, open_hdf5, subgroup
from fields.io.lazy import StoredArray, lazy
from fields.io.readers.netcdf import NetCDF

SMOKE = {"u": "smoke density", "vx": "velocity along x", "vy": "velocity along y"}

MAXWELL = {"d_field": "electric displacement", "h_field": "magnetic field"}

CONSTANTS = ("buo_y", "v", "alpha", "beta", "gamma", "bc_left", "bc_right", "c")


class PDEArena(Reader):
    """One group per mode: Navier–Stokes smoke, Maxwell, Kuramoto–Sivashinsky and the equations of MP-PDE solvers."""

    layout = "pdearena"

    def recognizes(self, path: Path) -> bool:
        """By a group named after its mode, holding smoke fields, ``d_field`` or ``pde_…``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            group = _group(file)
            return group is not None and (
                "vx" in group or "d_field" in group or _resolutions(group) != []
            )

    def open(self, path: Path, *, resolution: str | None = None) -> xr.Dataset:
        """Opens the file.

        Args:
            path: the file.
            resolution: which of several stored, as ``"250-100"`` (times-points); default: the
                finest.
        """
        handle = HDF5Handle(path)
        group = _group(handle.file)
        assert group is not None
        if "vx" in group:
            ds = _smoke(handle, group)
        else:
            ds = _maxwell(handle, group) if "d_field" in group else _line(handle, group, resolution)
        samples = ds.sizes["sample"]
        for name in CONSTANTS:
            stored = group.get(name)
            if isinstance(stored, h5py.Dataset) and stored.shape == (samples,):
                ds[name] = ("sample", np.asarray(stored), {"role": "parameter"})
        split = SPLITS.index(FOLDERS[str(group.name).strip("/")])
        ds = ds.assign_coords(split=("sample", np.full(samples, split, np.int8)))
        ds.attrs["layout"] = self.layout
        ds.set_close(handle.close)
        return check(ds, path)


class PDEArenaSphere(Reader):
    """Shallow water: a folder of netCDF files, one trajectory each."""

    layout = "pdearena_sphere"

    def recognizes(self, path: Path) -> bool:
        """By files ``seed=*/run*/output.nc``."""
        return path.is_dir() and bool(_runs(path))

    def open(self, path: Path) -> xr.Dataset:
        """Opens and joins all runs."""
        parts = [(NetCDF().open(file), split) for file, split in _runs(path)]
        ds = join_samples(parts, path)
        ds.attrs = {"layout": self.layout, "problem": "shallow_water_sphere"}
        return ds


def _runs(path: Path) -> list[tuple[Path, str]]:
    """The files with their splits; those of a folder without ``train`` … are of the split it is named after, else training."""
    inside = [(path / name, split) for name, split in FOLDERS.items() if (path / name).is_dir()]
    folders = inside or [(path, FOLDERS.get(path.name, "train"))]
    return [
        (file, split)
        for folder, split in folders
        for file in sorted(folder.glob("seed=*/run*/output.nc"))
    ]


def _group(file: h5py.File) -> h5py.Group | None:
    modes = [name for name in FOLDERS if isinstance(file.get(name), h5py.Group)]
    return subgroup(file, modes[0]) if len(modes) == 1 else None


def _resolutions(group: h5py.Group) -> list[str]:
    """Stored resolutions ``times-points``, finest first."""
    sizes = [
        tuple(map(int, m.groups()))
        for m in (re.fullmatch(r"pde_(\d+)-(\d+)", name) for name in map(str, group))
        if m
    ]
    return [f"{t}-{x}" for t, x in sorted(sizes, key=lambda s: (s[1], s[0]), reverse=True)]


def _smoke(handle: HDF5Handle, group: h5py.Group) -> xr.Dataset:
    missing = [name for name in (*SMOKE, "t", "x", "y") if name not in group]
    if missing:
        raise DataError(
            f"{handle.path}: group `{group.name}` has no {', '.join(missing)}. It is incomplete: get it again."
        )
    coords: dict[str, Any] = common_axis("time", np.asarray(group["t"]))
    for name in ("x", "y"):
        coords |= common_axis(name, np.asarray(group[name]), periodic=False, boundary="wall wall")
    dims = ("sample", "time", "x", "y")
    names = {name: f"{group.name}/{name}" for name in SMOKE}
    fields = {
        n: lazy(dims, StoredArray(handle, s), {"role": "state", "long_name": SMOKE[n]})
        for n, s in names.items()
    }
    return xr.Dataset(fields, coords, {"problem": "navier_stokes_smoke"})


def _maxwell(handle: HDF5Handle, group: h5py.Group) -> xr.Dataset:
    """Six components; points and frames are counted, since the file does not say where and when they are."""
    fields, dims = {}, ("sample", "time", "x", "y", "z")
    for stem, meaning in MAXWELL.items():
        if stem not in group:
            raise DataError(
                f"{handle.path}: group `{group.name}` has no `{stem}`. It is incomplete: get it again."
            )
        name = f"{group.name}/{stem}"
        shape = handle.array(name).shape
        if len(shape) != 6 or shape[-1] != 3:
            raise DataError(
                f"{handle.path}: `{name}` has shape {shape}, expected (samples, times, x, y, z, 3)."
            )
        for i, axis_name in enumerate(dims[2:]):
            attrs = {"role": "state", "long_name": f"{meaning} along {axis_name}"}
            fields[f"{stem}_{axis_name}"] = lazy(
                dims, StoredArray(handle, name, fixed={5: i}), attrs
            )
    sizes = dict(zip(dims, next(iter(fields.values())).shape, strict=True))
    coords: dict[str, Any] = {
        "time": ("time", np.arange(float(sizes["time"])), {"long_name": "frame"})
    }
    coords |= {n: axis(n, np.arange(float(sizes[n])), long_name="grid index") for n in dims[2:]}
    return xr.Dataset(fields, coords, {"problem": "maxwell"})


def _line(handle: HDF5Handle, group: h5py.Group, resolution: str | None) -> xr.Dataset:
    stored = _resolutions(group)
    if resolution is not None and resolution not in stored:
        raise DataError(
            f"{handle.path} has no resolution {resolution!r}; it has {', '.join(stored)}."
        )
    name = f"{group.name}/pde_{resolution or stored[0]}"
    dataset = handle.array(name)
    samples, frames, points = dataset.shape
    coords: dict[str, Any] = {}
    if "x" in dataset.attrs:
        x = np.ravel(np.asarray(dataset.attrs["x"], float))
        times = np.linspace(float(dataset.attrs["tmin"]), float(dataset.attrs["tmax"]), frames)
        coords = {"x": axis("x", x), "time": xr.Variable(("time",), times)}
    else:
        for axis_name, step, n in (("time", "dt", frames), ("x", "dx", points)):
            if step not in group:
                raise DataError(
                    f"{handle.path}: `{name}` has neither attribute `x` nor `{step}` beside it."
                )
            steps = np.broadcast_to(np.ravel(np.asarray(group[step], float)), (samples,))
            periodic = {} if axis_name == "time" else {"periodic": True}
            coords |= common_axis(axis_name, steps[:, None] * np.arange(n), **periodic)
    return xr.Dataset(
        {"u": lazy(("sample", "time", "x"), StoredArray(handle, name), {"role": "state"})}, coords
    )
