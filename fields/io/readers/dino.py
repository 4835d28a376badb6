"""DINo's files: shallow water on the sphere from Dedalus, and shelves of Navier–Stokes and wave trajectories.

Dedalus: ``traj_0000.h5`` … with ``tasks/height``, ``tasks/vorticity`` (T, φ, θ), coordinates as
dimension scales; a folder of them opens as one. Values are kept as stored; DINo multiplies height
by 3000 and vorticity by 2.
Shelf: a dbm database of pickles, key ``i`` → ``{"data": (C, T, X, Y)}``. It holds no coordinates:
points are at i/n of a periodic square, frames are counted. Only numpy arrays are unpickled; a file
that asks for anything else is refused.

Reference: Yin, Kirchmeyer, Franceschi, Rakotomamonjy & Gallinari, ICLR 2023 (``data_pdes.py``).
"""

from __future__ import annotations

import dbm
import io
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.concatenated import ConcatenatedArray, Groups
from fields.io.diagnose import is_hdf5
from fields.io.folders import join_samples
from fields.io.grid import axis
from fields.io.handles import Handle, HDF5Handle, open_hdf5, subgroup
from fields.io.lazy import StoredArray, lazy

TASKS = ("height", "vorticity")

PICKLED = {
    "_reconstruct",
    "ndarray",
    "dtype",
    "_frombuffer",
}  # what numpy's own pickles name, in modules of numpy


class DinoSphere(Reader):
    """One file of Dedalus per trajectory, or a folder of them."""

    layout = "dino"

    def recognizes(self, path: Path) -> bool:
        """By ``tasks/height`` and ``tasks/vorticity``."""
        files = _trajectories(path)
        if not files or not is_hdf5(files[0]):
            return False
        with open_hdf5(files[0]) as file:
            tasks = file.get("tasks")
            return isinstance(tasks, h5py.Group) and all(name in tasks for name in TASKS)

    def open(self, path: Path) -> xr.Dataset:
        """Opens and joins the trajectories."""
        split = (
            "test" if (path if path.is_dir() else path.parent).name.endswith("_test") else "train"
        )
        ds = join_samples([(_trajectory(file), split) for file in _trajectories(path)], path)
        ds.attrs = {"layout": self.layout, "problem": "shallow_water_sphere"}
        return ds


class DinoShelf(Reader):
    """A shelf of trajectories on a periodic square."""

    layout = "dino_shelf"

    def recognizes(self, path: Path) -> bool:
        """By a dbm database with the key ``0``."""
        if path.is_dir() or not dbm.whichdb(str(_base(path))):
            return False
        with dbm.open(str(_base(path)), "r") as shelf:
            return b"0" in shelf.keys()  # noqa: SIM118  databases are no mappings

    def open(self, path: Path) -> xr.Dataset:
        """Opens the trajectories 0, 1, … without gaps."""
        handle = ShelfHandle(_base(path))
        first = handle.array("0")
        if first.ndim != 4:
            raise DataError(
                f"{path}: trajectory 0 has shape {first.shape}, expected (channels, times, x, y)."
            )
        keys = handle.file
        names = [str(i) for i in range(len(keys)) if str(i) in keys]
        channels, frames, nx, ny = first.shape
        shapes = [(1, frames, nx, ny)] * len(names)
        variables = {}
        for c in range(channels):
            parts = Groups(handle, names, order=(None, 1, 2, 3), fixed={0: c})
            array = ConcatenatedArray(parts, shapes=shapes, dtype=first.dtype)  # pyright: ignore[reportArgumentType]
            label = "u" if channels == 1 else f"u_{c}"
            variables[label] = lazy(("sample", "time", "x", "y"), array, {"role": "state"})
        coords: dict[str, Any] = {
            "time": ("time", np.arange(float(frames)), {"long_name": "frame"})
        }
        coords |= {n: axis(n, np.arange(k) / k, periodic=True) for n, k in (("x", nx), ("y", ny))}
        ds = xr.Dataset(variables, coords, {"layout": self.layout})
        ds.set_close(handle.close)
        return check(ds, path)


class ShelfHandle(Handle):
    """A dbm database of pickled arrays; each is loaded when it is asked for."""

    def _connect(self) -> dict[str, bytes]:
        with dbm.open(str(self.path), "r") as shelf:
            keys = list(shelf.keys())
        return {key.decode() if isinstance(key, bytes) else str(key): b"" for key in keys}

    def _find(self, file: dict[str, bytes], name: str) -> np.ndarray:
        with dbm.open(str(self.path), "r") as shelf:
            found = _NumpyOnly(io.BytesIO(shelf[name.encode()])).load()
        return np.asarray(found["data"])


class _NumpyOnly(pickle.Unpickler):
    """Refuses every name that an array does not need: unpickling then runs no foreign code."""

    def find_class(self, module: str, name: str) -> Any:
        """Numpy's own constructors alone."""
        if module.split(".")[0] != "numpy" or name not in PICKLED:
            raise DataError(
                f"The shelf holds a `{module}.{name}` beside arrays: opening it could run foreign code."
            )
        return super().find_class(module, name)


def _base(path: Path) -> Path:
    """Databases of Python's own kind are several files, ``x.dat`` and ``x.dir``, which are opened as ``x``."""
    return (
        path.with_suffix("")
        if path.suffix in (".dat", ".dir", ".bak", ".pag", ".db") and not dbm.whichdb(str(path))
        else path
    )


def _trajectories(path: Path) -> list[Path]:
    return sorted(path.glob("traj_*.h5")) if path.is_dir() else [path]


def _trajectory(path: Path) -> xr.Dataset:
    handle = HDF5Handle(path)
    group = subgroup(handle.file, "tasks")
    if group is None or any(name not in group for name in TASKS):
        raise DataError(
            f"{path} has no tasks {' and '.join(TASKS)}. The simulation was interrupted: make it again."
        )
    dims = ("sample", "time", "phi", "theta")
    variables = {
        n: lazy(dims, StoredArray(handle, f"tasks/{n}", order=(None, 0, 1, 2)), {"role": "state"})
        for n in TASKS
    }
    stored = handle.array("tasks/height")
    scales = [_scale(stored, i) for i in range(3)]
    if scales[1] is None or scales[2] is None:
        raise DataError(
            f"{path}: `tasks/height` has no coordinates attached to its axes. Write them with Dedalus' file handler."
        )
    time = np.arange(float(stored.shape[0])) if scales[0] is None else scales[0]
    coords: dict[str, Any] = {"time": ("time", time)}
    coords["phi"] = axis("phi", scales[1], periodic=True, units="rad")
    coords["theta"] = axis("theta", scales[2], periodic=False, units="rad")
    ds = xr.Dataset(variables, coords)
    ds.set_close(handle.close)
    return ds


def _scale(dataset: h5py.Dataset, i: int) -> np.ndarray | None:
    """The coordinate attached to an axis: of several in time, the one called ``sim_time``."""
    scales = dataset.dims[i]
    attached = {name: scales[name] for name in scales.keys()}  # noqa: SIM118
    chosen = attached.get("sim_time", scales[0] if len(scales) else None)
    return (
        None
        if chosen is None or chosen.size != dataset.shape[i]
        else np.ravel(np.asarray(chosen, float))
    )
