"""DINo: shallow water on the sphere from Dedalus, and shelves of Navier–Stokes and wave equations.

Dedalus files are ``traj_0000.h5``, … with ``tasks/height`` and ``tasks/vorticity`` (T, φ, θ), and
coordinates as HDF5 dimension scales. A folder of them opens as one dataset. Values are kept as
stored; DINo itself multiplies height by 3000 and vorticity by 2.

A shelf is a dbm database of pickles, key ``i`` → ``{"data": (C, T, X, Y)}``. It contains no
coordinates: points are taken at i/n of a periodic square, and frames are numbered. Only numpy
arrays are unpickled; a file with any other object is refused. The number of trajectories is not
stored, so that a truncated index opens as fewer trajectories.

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

from fields.io.base import DataError, Reader, Specificity, check_canonical
from fields.io.concatenated import ConcatenatedArray, GroupArrays
from fields.io.folders import concatenate_samples
from fields.io.grid import space_coordinate
from fields.io.handles import Handle
from fields.io.hdf5 import (
    HDF5Handle,
    dimension_scales,
    get_attribute,
    get_group,
    get_item,
    open_hdf5,
)
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5

TASKS = ("height", "vorticity")

# Names in modules of numpy that the pickle of an array refers to.
ARRAY_CONSTRUCTORS = {"_reconstruct", "ndarray", "dtype", "_frombuffer"}

# Suffixes of the files in which dbm stores a database.
DATABASE_SUFFIXES = (".dat", ".dir", ".bak", ".pag", ".db")


class DinoSphere(Reader):
    """One Dedalus file per trajectory, or a folder of them.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "traj_0000.h5"
        >>> scales = {"phi": np.arange(8) * np.pi / 4, "theta": np.linspace(3, 0.1, 5)}
        >>> with h5py.File(path, "w") as file:
        ...     for name, values in scales.items():
        ...         file[name] = values
        ...         file[name].make_scale(name)
        ...     for task in TASKS:
        ...         field = file.create_dataset(f"tasks/{task}", data=np.zeros((3, 8, 5)))
        ...         for axis, name in enumerate(scales, start=1):
        ...             field.dims[axis].attach_scale(file[name])
        >>> dict(DinoSphere().open(path).sizes)
        {'sample': 1, 'time': 3, 'phi': 8, 'theta': 5}
    """

    layout = "dino"
    engine = "dino"

    def recognizes(self, path: Path) -> bool:
        """By ``tasks/height`` and ``tasks/vorticity``."""
        files = _trajectory_files(path)
        if not files or not is_hdf5(files[0]):
            return False
        with open_hdf5(files[0]) as file:
            tasks = get_item(file, "tasks")
            return isinstance(tasks, h5py.Group) and all(name in tasks for name in TASKS)

    def open(self, path: Path) -> xr.Dataset:
        """Open the trajectories as samples; a folder named ``…_test`` is the test split."""
        folder = path if path.is_dir() else path.parent
        split = "test" if folder.name.endswith("_test") else "train"
        parts = [(_open_trajectory(file), split) for file in _trajectory_files(path)]
        ds = concatenate_samples(parts, path)
        ds.attrs = {"layout": self.layout, "problem": "shallow_water_sphere"}
        return ds


class DinoShelf(Reader):
    """A shelf of trajectories on a periodic square.

    Example:
        >>> import tempfile, dbm.dumb
        >>> path = Path(tempfile.mkdtemp()) / "wave_train"
        >>> with dbm.dumb.open(str(path), "n") as shelf:
        ...     shelf[b"0"] = pickle.dumps({"data": np.zeros((1, 4, 6, 6))})
        >>> dict(DinoShelf().open(path).sizes)
        {'sample': 1, 'time': 4, 'x': 6, 'y': 6}
    """

    layout = "dino_shelf"
    specificity = Specificity.CONVENTION
    engine = "dino"

    def recognizes(self, path: Path) -> bool:
        """By a dbm database with the key ``0``."""
        if path.is_dir() or not dbm.whichdb(str(_database_path(path))):
            return False
        with dbm.open(str(_database_path(path)), "r") as shelf:
            return b"0" in shelf.keys()  # noqa: SIM118  a database is not a mapping

    def open(self, path: Path) -> xr.Dataset:
        """Open the trajectories 0, 1, … up to the first missing key."""
        handle = ShelfHandle(_database_path(path))
        first = handle.array("0")
        if first.ndim != 4:
            raise DataError(
                f"{path}: trajectory 0 has the shape {first.shape}, "
                "expected (channels, times, x, y)."
            )
        keys = handle.file
        names = [str(i) for i in range(len(keys)) if str(i) in keys]
        channels, frames, nx, ny = first.shape
        shapes = [(1, frames, nx, ny)] * len(names)
        variables = {}
        for c in range(channels):
            parts: Any = GroupArrays(handle, names, order=(None, 1, 2, 3), fixed={0: c})
            array = ConcatenatedArray(parts, shapes=shapes, dtype=first.dtype)
            name = "u" if channels == 1 else f"u_{c}"
            variables[name] = lazy_variable(("sample", "time", "x", "y"), array, {"role": "state"})
        coords: dict[str, Any] = {
            "time": ("time", np.arange(float(frames)), {"long_name": "frame"}),
            "x": space_coordinate("x", np.arange(nx) / nx, periodic=True),
            "y": space_coordinate("y", np.arange(ny) / ny, periodic=True),
        }
        ds = xr.Dataset(variables, coords, {"layout": self.layout})
        ds.set_close(handle.close)
        return check_canonical(ds, path)


class ShelfHandle(Handle):
    """A dbm database of pickled arrays; each is loaded when it is first used.

    Example:
        >>> import tempfile, dbm.dumb
        >>> path = Path(tempfile.mkdtemp()) / "wave"
        >>> with dbm.dumb.open(str(path), "n") as shelf:
        ...     shelf[b"0"] = pickle.dumps({"data": np.zeros((1, 4, 6, 6))})
        >>> ShelfHandle(path).array("0").shape
        (1, 4, 6, 6)
    """

    def open_file(self) -> dict[str, bytes]:
        """Read the keys of the database."""
        with dbm.open(str(self.path), "r") as shelf:
            keys = list(shelf.keys())
        return {key.decode() if isinstance(key, bytes) else str(key): b"" for key in keys}

    def find_array(self, file: dict[str, bytes], name: str) -> np.ndarray:
        """Read one trajectory with an unpickler that admits only arrays."""
        with dbm.open(str(self.path), "r") as shelf:
            content = _ArrayUnpickler(io.BytesIO(shelf[name.encode()])).load()
        return np.asarray(content["data"])


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays only, so that no code of the file is executed."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a constructor of numpy arrays and refuse every other name."""
        if module.split(".")[0] != "numpy" or name not in ARRAY_CONSTRUCTORS:
            raise DataError(
                f"The shelf contains an object of type `{module}.{name}`. Only numpy arrays are "
                "loaded, because unpickling other objects can execute code."
            )
        return super().find_class(module, name)


def _database_path(path: Path) -> Path:
    """The name by which dbm opens a database; it may consist of ``x.dat`` and ``x.dir``."""
    is_part = path.suffix in DATABASE_SUFFIXES and not dbm.whichdb(str(path))
    return path.with_suffix("") if is_part else path


def _trajectory_files(path: Path) -> list[Path]:
    return sorted(path.glob("traj_*.h5")) if path.is_dir() else [path]


def _open_trajectory(path: Path) -> xr.Dataset:
    handle = HDF5Handle(path)
    group = get_group(handle.file, "tasks")
    if group is None or any(name not in group for name in TASKS):
        raise DataError(
            f"{path} lacks the tasks {' and '.join(TASKS)}. Its simulation was probably "
            "interrupted. Run it again."
        )
    variables = {}
    for name in TASKS:
        array = StoredArray(handle, f"tasks/{name}", order=(None, 0, 1, 2))
        dims = ("sample", "time", "phi", "theta")
        variables[name] = lazy_variable(dims, array, {"role": "state"})
    stored: Any = group["height"]
    attached = dimension_scales(stored)
    time, phi, theta = (_coordinate(handle, attached[i], stored.shape[i]) for i in range(3))
    if phi is None or theta is None:
        raise DataError(
            f"{path}: `tasks/height` has no coordinates attached to its axes. Write the file with "
            "the file handler of Dedalus."
        )
    if time is None:
        time = np.arange(float(stored.shape[0]))
    coords: dict[str, Any] = {
        "time": ("time", time),
        "phi": space_coordinate("phi", phi, periodic=True, units="rad"),
        "theta": space_coordinate("theta", theta, periodic=False, units="rad"),
    }
    ds = xr.Dataset(variables, coords)
    ds.set_close(handle.close)
    return ds


def _coordinate(handle: HDF5Handle, scales: list[h5py.Dataset], size: int) -> np.ndarray | None:
    """The values of a scale of ``size`` entries; of several, of the one called ``sim_time``."""
    named = [scale for scale in scales if get_attribute(scale, "NAME") == "sim_time"]
    chosen = (named or scales or [None])[0]
    if chosen is None or chosen.size != size:
        return None
    return np.ravel(np.asarray(handle.array(str(chosen.name)), float))
