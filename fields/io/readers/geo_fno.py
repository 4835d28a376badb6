"""Geo-FNO: ``.npy`` files that belong together, with a mesh per sample and a field on its points.

``<name>_X``, ``<name>_Y`` (N, I, J) are a curvilinear grid and ``<name>_Q`` (N, C, I, J) the fields
on it (airfoil: channel 4 of 5; pipe: channel 0). ``<name>_XY_<n>`` (P, 2, N) are scattered points
and ``<name>_sigma_<n>`` (P, N) the stress there. Any of the files may be given. The geometry is
what is known of a sample, so its points are also given as an input function.

Reference: Li, Huang, Liu & Anandkumar, JMLR 24 (2023); names and channels:
thuml/Neural-Solver-Library ``data_loader.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.handles import NumpyHandle
from fields.io.lazy import LazyArray, StoredArray, lazy_variable
from fields.io.signatures import is_npy

# Number of stored channels: the channel to predict; channel 0 for other numbers.
TARGET_CHANNEL = {5: 4}


class GeoFno(Reader):
    """Files ``_X``, ``_Y``, ``_Q``, or ``_XY_``, ``_sigma_``, in one folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for word, shape in (("X", (2, 4, 5)), ("Y", (2, 4, 5)), ("Q", (2, 5, 4, 5))):
        ...     np.save(folder / f"Airfoil_{word}.npy", np.zeros(shape))
        >>> dict(GeoFno().open(folder / "Airfoil_Q.npy").sizes)
        {'sample': 2, 'point': 20}
    """

    layout = "geo_fno"
    engine = "geo_fno"

    def recognizes(self, path: Path) -> bool:
        """By the signature of numpy and companion files whose shapes match."""
        return is_npy(path) and bool(_companions(path))

    def open(self, path: Path, *, channel: int | None = None) -> xr.Dataset:
        """Open the files together.

        Args:
            path: one of them.
            channel: which of several stored fields to predict; default: the one that the benchmark
                uses.
        """
        files = _companions(path)
        ds = _curvilinear_grid(files, channel) if "Q" in files else _scattered_points(files)
        ds.attrs["layout"] = self.layout
        ds.attrs["problem"] = re.split(r"_(X|Y|Q|XY|sigma)(?=[_.])", path.name)[0].lower()
        return check_canonical(ds, path)


class FlattenedHandle(NumpyHandle):
    """An ``.npy`` array whose last two axes, those of a curvilinear grid, are flattened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a_X.npy"
        >>> np.save(path, np.zeros((2, 3, 4)))
        >>> FlattenedHandle(path).array("array").shape
        (2, 12)
    """

    def find_array(self, file: Any, name: str) -> np.ndarray:
        """The array with shape (…, I·J)."""
        array = file[name]
        return array.reshape(*array.shape[:-2], -1)


def _companions(path: Path) -> dict[str, Path]:
    """The files that belong together, by the word that distinguishes their names; else empty."""
    for words in (("X", "Y", "Q"), ("XY", "sigma")):
        match = re.fullmatch(rf"(.*)_({'|'.join(words)})((?:_[^_]*)?\.[^.]*)", path.name)
        if not match:
            continue
        files = {word: path.with_name(f"{match[1]}_{word}{match[3]}") for word in words}
        missing = [file.name for file in files.values() if not file.is_file()]
        if missing:
            raise DataError(
                f"{path} is one of several files that belong together, but {missing[0]} is missing "
                "from its folder. Download it too."
            )
        shapes = [NumpyHandle(file).array("array").shape for file in files.values()]
        if not _shapes_match(shapes):
            names = ", ".join(file.name for file in files.values())
            raise DataError(
                f"{path}: the shapes of {names} do not match: {', '.join(map(str, shapes))}. "
                "Download all of them from one source."
            )
        return files
    return {}


def _shapes_match(shapes: list[tuple[int, ...]]) -> bool:
    if len(shapes) == 2:
        points, values = shapes
        return len(points) == 3 and points[1] == 2 and values == (points[0], points[2])
    x, y, q = shapes
    return len(x) == 3 and x == y and len(q) == 4 and (q[0], *q[2:]) == x


def _curvilinear_grid(files: dict[str, Path], channel: int | None) -> xr.Dataset:
    handles = {word: FlattenedHandle(file) for word, file in files.items()}
    channels = handles["Q"].array("array").shape[1]
    target = TARGET_CHANNEL.get(channels, 0) if channel is None else channel
    if not 0 <= target < channels:
        raise DataError(f"{files['Q']} has the channels 0 to {channels - 1}, not {target}.")
    points = {name: StoredArray(handles[name.upper()], "array") for name in ("x", "y")}
    ds = _dataset(points, "q", StoredArray(handles["Q"], "array", fixed={1: target}))
    rows, columns = NumpyHandle(files["X"]).array("array").shape[1:]
    ds.attrs |= {"bent_grid": f"{rows}x{columns}", "channel": target}
    return ds


def _scattered_points(files: dict[str, Path]) -> xr.Dataset:
    coordinates = NumpyHandle(files["XY"])
    points = {
        name: StoredArray(coordinates, "array", order=(2, 0), fixed={1: i})
        for i, name in enumerate(("x", "y"))
    }
    sigma = StoredArray(NumpyHandle(files["sigma"]), "array", order=(1, 0))
    return _dataset(points, "sigma", sigma)


def _dataset(points: dict[str, StoredArray], name: str, field: LazyArray) -> xr.Dataset:
    dims = ("sample", "point")
    variables = {
        f"geometry_{axis}": lazy_variable(dims, array, {"role": "input"})
        for axis, array in points.items()
    }
    variables[name] = lazy_variable(dims, field, {"role": "output"})
    coords = {axis: lazy_variable(dims, array) for axis, array in points.items()}
    return xr.Dataset(variables, coords)
