"""pdearena and MP-PDE solvers: one HDF5 group ``train``, ``valid`` or ``test`` with everything.

Smoke in a closed box: ``u``, ``vx``, ``vy`` (N, T, X, Y), ``t`` (N, T), ``x`` (N, X), ``y`` (N, Y),
buoyancy ``buo_y`` (N). One-dimensional equations: ``pde_{T}-{X}`` (N, T, X), with ``dt``, ``dx``
and constants per sample, or with ``x``, ``tmin``, ``tmax`` as attributes. Maxwell: ``d_field``,
``h_field`` (N, T, X, Y, Z, 3), without coordinates.

Shallow water on the sphere is a folder of netCDF files, ``seed=*/run*/output.nc``, with one
trajectory each, which may be inside folders ``train``, ``valid``, ``test``. The file
``normstats.pt`` beside it is not used.

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

from fields.io.base import SPLITS, DataError, Reader, check_canonical
from fields.io.folders import SPLIT_FOLDERS, concatenate_samples
from fields.io.grid import coordinates_per_sample, space_coordinate
from fields.io.hdf5 import HDF5Handle, get_attribute, get_group, get_item, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.readers.netcdf import NetCDF
from fields.io.signatures import is_hdf5

SMOKE = {"u": "smoke density", "vx": "velocity along x", "vy": "velocity along y"}

MAXWELL = {"d_field": "electric displacement", "h_field": "magnetic field"}

CONSTANTS = ("buo_y", "v", "alpha", "beta", "gamma", "bc_left", "bc_right", "c")


class PDEArena(Reader):
    """One group per split: Navier–Stokes smoke, Maxwell, and the equations of MP-PDE solvers.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "KdV_train.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["train/pde_5-8"] = np.zeros((2, 5, 8))
        ...     file["train/dt"] = np.full(2, 0.1)
        ...     file["train/dx"] = np.full(2, 0.5)
        >>> dict(PDEArena().open(path).sizes)
        {'sample': 2, 'time': 5, 'x': 8}
    """

    layout = "pdearena"
    engine = "pdearena"

    def recognizes(self, path: Path) -> bool:
        """By a group named after the split, with smoke fields, ``d_field`` or ``pde_…``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            group = _split_group(file)
            if group is None:
                return False
            return "vx" in group or "d_field" in group or bool(_resolutions(group))

    def open(self, path: Path, *, resolution: str | None = None) -> xr.Dataset:
        """Open the file.

        Args:
            path: the file.
            resolution: which of several stored ones, as ``"250-100"`` (times-points); default: the
                finest.
        """
        handle = HDF5Handle(path)
        group = _split_group(handle.file)
        assert group is not None
        if "vx" in group:
            ds = _smoke(handle, group)
        elif "d_field" in group:
            ds = _maxwell(handle, group)
        else:
            ds = _one_dimensional(handle, group, resolution)
        samples = ds.sizes["sample"]
        for name in CONSTANTS:
            stored = get_item(group, name)
            if isinstance(stored, h5py.Dataset) and stored.shape == (samples,):
                values = np.asarray(handle.array(f"{group.name}/{name}"))
                ds[name] = ("sample", values, {"role": "parameter"})
        split = SPLITS.index(SPLIT_FOLDERS[str(group.name).strip("/")])
        ds = ds.assign_coords(split=("sample", np.full(samples, split, np.int8)))
        ds.attrs["layout"] = self.layout
        ds.set_close(handle.close)
        return check_canonical(ds, path)


class PDEArenaSphere(Reader):
    """Shallow water: a folder of netCDF files, one trajectory each.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for run in ("run0", "run1"):
        ...     (folder / "seed=1" / run).mkdir(parents=True)
        ...     ds = xr.Dataset({"u": (("time", "lat", "lon"), np.zeros((3, 4, 8)))})
        ...     ds.to_netcdf(folder / "seed=1" / run / "output.nc", engine="h5netcdf")
        >>> dict(PDEArenaSphere().open(folder).sizes)
        {'sample': 2, 'time': 3, 'lat': 4, 'lon': 8}
    """

    layout = "pdearena_sphere"
    engine = "pdearena"

    def recognizes(self, path: Path) -> bool:
        """Whether the folder contains files ``seed=*/run*/output.nc``."""
        return path.is_dir() and bool(_run_files(path))

    def open(self, path: Path) -> xr.Dataset:
        """Open the runs as samples."""
        parts = [(NetCDF().open(file), split) for file, split in _run_files(path)]
        ds = concatenate_samples(parts, path)
        ds.attrs = {"layout": self.layout, "problem": "shallow_water_sphere"}
        return ds


def _run_files(path: Path) -> list[tuple[Path, str]]:
    """The files with their splits.

    Without folders ``train``, … the split is that of the folder's own name, or else training.
    """
    inside = [
        (path / name, split) for name, split in SPLIT_FOLDERS.items() if (path / name).is_dir()
    ]
    folders = inside or [(path, SPLIT_FOLDERS.get(path.name, "train"))]
    return [
        (file, split)
        for folder, split in folders
        for file in sorted(folder.glob("seed=*/run*/output.nc"))
    ]


def _split_group(file: h5py.File) -> h5py.Group | None:
    names = [name for name in SPLIT_FOLDERS if isinstance(get_item(file, name), h5py.Group)]
    return get_group(file, names[0]) if len(names) == 1 else None


def _resolutions(group: h5py.Group) -> list[str]:
    """Stored resolutions ``times-points``, the finest first."""
    matches = [re.fullmatch(r"pde_(\d+)-(\d+)", name) for name in map(str, group)]
    sizes = [(int(m[1]), int(m[2])) for m in matches if m]
    sizes.sort(key=lambda size: (size[1], size[0]), reverse=True)
    return [f"{times}-{points}" for times, points in sizes]


def _smoke(handle: HDF5Handle, group: h5py.Group) -> xr.Dataset:
    missing = [name for name in (*SMOKE, "t", "x", "y") if name not in group]
    if missing:
        raise DataError(
            f"{handle.path}: the group `{group.name}` has no {', '.join(missing)}. The file is "
            "incomplete. Download it again."
        )
    coords: dict[str, Any] = coordinates_per_sample(
        "time", np.asarray(handle.array(f"{group.name}/t"))
    )
    for name in ("x", "y"):
        coords |= coordinates_per_sample(
            name,
            np.asarray(handle.array(f"{group.name}/{name}")),
            periodic=False,
            boundary="wall wall",
        )
    fields = {}
    for name, long_name in SMOKE.items():
        array = StoredArray(handle, f"{group.name}/{name}")
        attrs = {"role": "state", "long_name": long_name}
        fields[name] = lazy_variable(("sample", "time", "x", "y"), array, attrs)
    return xr.Dataset(fields, coords, {"problem": "navier_stokes_smoke"})


def _maxwell(handle: HDF5Handle, group: h5py.Group) -> xr.Dataset:
    """Six components; points and frames are numbered, since the file has no coordinates."""
    fields = {}
    dims = ("sample", "time", "x", "y", "z")
    for stem, long_name in MAXWELL.items():
        if stem not in group:
            raise DataError(
                f"{handle.path}: the group `{group.name}` has no `{stem}`. The file is incomplete. "
                "Download it again."
            )
        name = f"{group.name}/{stem}"
        shape = handle.array(name).shape
        if len(shape) != 6 or shape[-1] != 3:
            raise DataError(
                f"{handle.path}: `{name}` has the shape {shape}, expected "
                "(samples, times, x, y, z, 3)."
            )
        for i, axis in enumerate(dims[2:]):
            attrs = {"role": "state", "long_name": f"{long_name} along {axis}"}
            array = StoredArray(handle, name, fixed={5: i})
            fields[f"{stem}_{axis}"] = lazy_variable(dims, array, attrs)
    sizes = dict(zip(dims, next(iter(fields.values())).shape, strict=True))
    frames = np.arange(float(sizes["time"]))
    coords: dict[str, Any] = {"time": ("time", frames, {"long_name": "frame"})}
    for axis in dims[2:]:
        index = np.arange(float(sizes[axis]))
        coords[axis] = space_coordinate(axis, index, long_name="grid index")
    return xr.Dataset(fields, coords, {"problem": "maxwell"})


def _one_dimensional(handle: HDF5Handle, group: h5py.Group, resolution: str | None) -> xr.Dataset:
    known = _resolutions(group)
    if resolution is not None and resolution not in known:
        raise DataError(
            f"{handle.path} does not contain the resolution {resolution!r}; it contains "
            f"{', '.join(known)}."
        )
    name = f"{group.name}/pde_{resolution or known[0]}"
    dataset = handle.array(name)
    samples, frames, points = dataset.shape
    coords: dict[str, Any] = {}
    item = get_item(handle.file, name)
    x = get_attribute(item, "x")
    if x is not None:
        x = np.ravel(np.asarray(x, float))
        first, last = (float(get_attribute(item, key)) for key in ("tmin", "tmax"))
        times = np.linspace(first, last, frames)
        coords["x"] = space_coordinate("x", x)
        coords["time"] = xr.Variable(("time",), times)
    else:
        for axis, step, n in (("time", "dt", frames), ("x", "dx", points)):
            if step not in group:
                raise DataError(
                    f"{handle.path}: `{name}` has no attribute `x`, and its group no array "
                    f"`{step}`, so its coordinates are unknown. Open the file with a mapping."
                )
            stored = np.asarray(handle.array(f"{group.name}/{step}"), float)
            steps = np.broadcast_to(np.ravel(stored), (samples,))
            periodic = {} if axis == "time" else {"periodic": True}
            coords |= coordinates_per_sample(axis, steps[:, None] * np.arange(n), **periodic)
    u = lazy_variable(("sample", "time", "x"), StoredArray(handle, name), {"role": "state"})
    return xr.Dataset({"u": u}, coords)
