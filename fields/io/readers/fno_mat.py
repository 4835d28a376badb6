"""MATLAB files: those of the Fourier neural operator paper, and single reference trajectories as ``.mat`` or ``.npz``.

==============================  ==================================================  ===================================
keys                            shapes in MATLAB's order                            problem
==============================  ==================================================  ===================================
``coeff``, ``sol``              (N, X, Y), nodes of [0, 1]² with its boundary       Darcy
``a``, ``u``                    (N, X), periodic at i/n                             Burgers, u at t = 1
``u`` with ``a``, ``t``         (N, X, Y, T), **time last**, frames after ``a``     Navier–Stokes, periodic at i/n
``x``, ``t`` or ``tt``, one     (X, T)                                              one trajectory
==============================  ==================================================  ===================================

Version 7.3 is HDF5 with **all axes reversed**; version 5 compresses whole arrays, so each is loaded
at its first use.

Reference: Li et al., ICLR 2021; Raissi, Perdikaris & Karniadakis, JCP 2019.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.diagnose import head, is_hdf5, is_zip
from fields.io.grid import axis
from fields.io.handles import Handle, HDF5Handle, MatlabHandle, NumpyHandle, open_hdf5
from fields.io.lazy import StoredArray, lazy
from fields.io.readers.neuralop_pt import DARCY_SYMMETRIES


class FnoMat(Reader):
    """``coeff``/``sol``, ``a``/``u`` or a single trajectory over ``x`` and ``t``."""

    layout = "fno_mat"

    def recognizes(self, path: Path) -> bool:
        """By the names of the arrays."""
        return _kind(shapes(path)) is not None

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Opens the file.

        Args:
            path: the file.
            periodic: whether the axes close on themselves; default: as the problem is known to,
                else unknown.
        """
        handle = matlab_handle(path)
        found = shapes(path)
        kind = _kind(found)
        build = {"darcy": _darcy, "map": _map, "frames": _frames, "trajectory": _trajectory}[
            str(kind)
        ]
        ds = build(_View(handle, reversed_axes=isinstance(handle, HDF5Handle)), found)
        if periodic is not None:
            for name in ds.indexes.keys() - {"time", "sample"}:
                fresh = axis(str(name), ds[name].values, periodic=periodic)
                ds = ds.assign_coords({name: fresh})
        ds.attrs["layout"] = self.layout
        ds.set_close(handle.close)
        return check(ds, path)


class _View:
    """Arrays of the file with MATLAB's axes, whichever version stores them."""

    def __init__(self, handle: Handle, *, reversed_axes: bool):
        self.handle, self.reversed_axes = handle, reversed_axes

    def stored(self, name: str, axes: tuple[int | None, ...]) -> StoredArray:
        """Canonical axis i is MATLAB's axis ``axes[i]``."""
        n = len([a for a in axes if a is not None])
        order = [a if a is None or not self.reversed_axes else n - 1 - a for a in axes]
        return StoredArray(self.handle, name, order=order)

    def vector(self, name: str) -> np.ndarray:
        """A small array, flat."""
        return np.asarray(self.handle.array(name)).reshape(-1)


def matlab_handle(path: Path) -> Handle:
    """The handle for a ``.mat`` file of either version, or ``.npz``."""
    if is_hdf5(path):
        return HDF5Handle(path)
    return NumpyHandle(path) if is_zip(path) else MatlabHandle(path)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name in MATLAB's order; empty for other files."""
    start = head(path)
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        from scipy.io import whosmat

        return {name: shape for name, shape, _ in whosmat(path)}
    if start.startswith(b"MATLAB 7.3 MAT-file") and is_hdf5(path):
        with open_hdf5(path) as file:
            return {name: d.shape[::-1] for name, d in file.items() if hasattr(d, "shape")}
    if is_zip(path):
        return _npz_shapes(path)
    return {}


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        if not archive.namelist() or not all(name.endswith(".npy") for name in archive.namelist()):
            return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].shape for name in file.files}


def _kind(found: dict[str, tuple[int, ...]]) -> str | None:
    if {"coeff", "sol"} <= found.keys():
        return "darcy"
    if "u" in found and len(found["u"]) == 4:
        return "frames"
    if {"a", "u"} <= found.keys() and found["a"] == found["u"]:
        return "map"
    return "trajectory" if _trajectory_names(found) else None


def _trajectory_names(found: dict[str, tuple[int, ...]]) -> tuple[str, str] | None:
    """Names of time and field of a file with ``x`` (X), ``t`` (T) and one field (X, T)."""
    time = next((name for name in ("t", "tt") if name in found), None)
    if time is None or "x" not in found:
        return None
    shape = (int(np.prod(found["x"])), int(np.prod(found[time])))
    fields = [name for name, s in found.items() if s == shape and name not in ("x", time)]
    return (time, fields[0]) if len(fields) == 1 else None


def _darcy(view: _View, found: dict[str, tuple[int, ...]]) -> xr.Dataset:
    if found["coeff"] != found["sol"] or len(found["sol"]) != 3:
        raise DataError(
            f"{view.handle.path}: coeff {found['coeff']} and sol {found['sol']} must both be (N, X, Y)."
        )
    dims = ("sample", "x", "y")
    variables = {
        "coeff": lazy(dims, view.stored("coeff", (0, 1, 2)), {"role": "input"}),
        "sol": lazy(dims, view.stored("sol", (0, 1, 2)), {"role": "output"}),
    }
    coords = {
        n: axis(n, np.linspace(0, 1, s), periodic=False)
        for n, s in zip("xy", found["sol"][1:], strict=True)
    }
    return xr.Dataset(
        variables, coords, {"problem": "darcy", "symmetries": json.dumps(DARCY_SYMMETRIES)}
    )


def _map(view: _View, found: dict[str, tuple[int, ...]]) -> xr.Dataset:
    axes = ("x", "y", "z")[: len(found["u"]) - 1]
    dims, order = ("sample", *axes), tuple(range(len(found["u"])))
    variables = {
        "a": lazy(dims, view.stored("a", order), {"role": "input"}),
        "u": lazy(dims, view.stored("u", order), {"role": "output"}),
    }
    coords = {
        n: axis(n, np.arange(s) / s, periodic=True)
        for n, s in zip(axes, found["u"][1:], strict=True)
    }
    return xr.Dataset(variables, coords, {"problem": "burgers"} if len(axes) == 1 else {})


def _frames(view: _View, found: dict[str, tuple[int, ...]]) -> xr.Dataset:
    samples, *grid, frames = found["u"]
    variables: dict[str, Any] = {
        "u": lazy(
            ("sample", "time", "x", "y"),
            view.stored("u", (0, 3, 1, 2)),
            {"role": "state", "long_name": "vorticity"},
        )
    }
    if found.get("a") == (samples, *grid):
        attrs = {"role": "input", "long_name": "vorticity at time 0"}
        variables["a"] = lazy(("sample", "x", "y"), view.stored("a", (0, 1, 2)), attrs)
    has_times = int(np.prod(found.get("t", (0,)))) == frames
    times = view.vector("t") if has_times else np.arange(1.0, frames + 1)
    coords: dict[str, Any] = {"time": ("time", times)}
    coords |= {n: axis(n, np.arange(s) / s, periodic=True) for n, s in zip("xy", grid, strict=True)}
    return xr.Dataset(variables, coords, {"problem": "navier_stokes"})


def _trajectory(view: _View, found: dict[str, tuple[int, ...]]) -> xr.Dataset:
    time, field = _trajectory_names(found) or ("", "")
    variables = {
        field: lazy(("sample", "time", "x"), view.stored(field, (None, 1, 0)), {"role": "state"})
    }
    return xr.Dataset(
        variables, {"time": ("time", view.vector(time)), "x": axis("x", view.vector("x"))}
    )
