"""Geo-FNO's pairs of ``.npy`` files: one problem on a mesh of its own per sample, the wanted field beside its points.

``<name>_X``, ``<name>_Y`` (N, I, J) are a bent grid, ``<name>_Q`` (N, C, I, J) the fields on it
(airfoil: channel 4 of 5; pipe: channel 0). ``<name>_XY_<n>`` (P, 2, N) are scattered points,
``<name>_sigma_<n>`` (P, N) the stress there. Any file of the pair may be given. What is known of a
sample is its geometry, so its points are given as an input function too.

Reference: Li, Huang, Liu & Anandkumar, JMLR 24 (2023); names and channels:
thuml/Neural-Solver-Library ``data_loader.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.diagnose import head
from fields.io.handles import NumpyHandle
from fields.io.lazy import LazyArray, StoredArray, lazy

WANTED = {5: 4}  # channels stored: the wanted one; else the first


class GeoFno(Reader):
    """Files ``_X``, ``_Y``, ``_Q``, or ``_XY_``, ``_sigma_``, side by side."""

    layout = "geo_fno"

    def recognizes(self, path: Path) -> bool:
        """By numpy's signature and partners whose shapes fit."""
        return head(path, 6) == b"\x93NUMPY" and bool(_partners(path))

    def open(self, path: Path, *, channel: int | None = None) -> xr.Dataset:
        """Opens the files together.

        Args:
            path: one of them.
            channel: which of several stored fields is wanted; default: the one that is customary.
        """
        files = _partners(path)
        ds = _bent_grid(files, channel) if "Q" in files else _scattered(files)
        ds.attrs |= {
            "layout": self.layout,
            "problem": re.split(r"_(X|Y|Q|XY|sigma)(?=[_.])", path.name)[0].lower(),
        }
        return check(ds, path)


class FlatHandle(NumpyHandle):
    """An array whose last two axes, those of a bent grid, are seen as one."""

    def _find(self, file: Any, name: str) -> np.ndarray:
        array = file[name]
        return array.reshape(*array.shape[:-2], -1)


def _partners(path: Path) -> dict[str, Path]:
    """The files of the pair by the word in their names that tells them apart; none if they do not fit together."""
    for words in (("X", "Y", "Q"), ("XY", "sigma")):
        found = re.fullmatch(rf"(.*)_({'|'.join(words)})((?:_[^_]*)?\.[^.]*)", path.name)
        if not found:
            continue
        files = {word: path.with_name(f"{found[1]}_{word}{found[3]}") for word in words}
        missing = [file.name for file in files.values() if not file.is_file()]
        if missing:
            raise DataError(
                f"{path} is one of several files that belong together, but {missing[0]} is not beside it. Get it too."
            )
        shapes = [NumpyHandle(file).array("array").shape for file in files.values()]
        if not _fit(shapes):
            names = ", ".join(file.name for file in files.values())
            raise DataError(
                f"{path}: the shapes of {names} do not fit together: {shapes}. Get them from one place."
            )
        return files
    return {}


def _fit(shapes: list[tuple[int, ...]]) -> bool:
    if len(shapes) == 2:
        (points, d, samples), sigma = shapes[0] if len(shapes[0]) == 3 else (0, 0, 0), shapes[1]
        return d == 2 and sigma == (points, samples)
    x, y, q = shapes
    return len(x) == 3 and x == y and len(q) == 4 and (q[0], *q[2:]) == x


def _bent_grid(files: dict[str, Path], channel: int | None) -> xr.Dataset:
    handles = {word: FlatHandle(file) for word, file in files.items()}
    channels = handles["Q"].array("array").shape[1]
    chosen = WANTED.get(channels, 0) if channel is None else channel
    if not 0 <= chosen < channels:
        raise DataError(f"{files['Q']} has channels 0 to {channels - 1}, not {chosen}.")
    points = {name: StoredArray(handles[name.upper()], "array") for name in ("x", "y")}
    ds = _dataset(points, "q", StoredArray(handles["Q"], "array", fixed={1: chosen}))
    rows, columns = NumpyHandle(files["X"]).array("array").shape[1:]
    ds.attrs |= {"bent_grid": f"{rows}x{columns}", "channel": chosen}
    return ds


def _scattered(files: dict[str, Path]) -> xr.Dataset:
    places, values = NumpyHandle(files["XY"]), NumpyHandle(files["sigma"])
    points = {
        name: StoredArray(places, "array", order=(2, 0), fixed={1: i})
        for i, name in enumerate(("x", "y"))
    }
    return _dataset(points, "sigma", StoredArray(values, "array", order=(1, 0)))


def _dataset(points: dict[str, StoredArray], name: str, field: LazyArray) -> xr.Dataset:
    dims = ("sample", "point")
    given = {
        f"geometry_{axis}": lazy(dims, array, {"role": "input"}) for axis, array in points.items()
    }
    wanted = {name: lazy(dims, field, {"role": "output"})}
    return xr.Dataset(given | wanted, {axis: lazy(dims, array) for axis, array in points.items()})
