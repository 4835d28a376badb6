"""PDEBench: flat files of 1-D to 3-D problems (cell centers, axes N T X Y Z).

The time axis is stored one entry too long (it ends with the time after the last frame) and is cut
to the frames. Parameters are attributes, or else taken from the file name; whether compressible
flow is periodic stands in the file name only. Locally generated files may have a leading axis of
length 1 (one device).

Reference: Takamoto et al., NeurIPS 2022 datasets track; schemas as written by
``pdebench/data_gen``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.grid import bounds_of_cells
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy

AXES = ("x", "y", "z")

FLOW = ("density", "pressure", "Vx", "Vy", "Vz")

PARAMETERS = ("beta", "Nu", "Rho", "rho", "eta", "zeta", "Eta", "Zeta", "M")

SQUARE = [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]

SYMMETRIES = {
    "advection": [{"shift": ["x"]}],
    "burgers": [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}],
    "reaction_diffusion": [{"shift": ["x"]}, {"flip": ["x"]}],
    "darcy": SQUARE,
}


class PDEBenchFlat(Reader):
    """``tensor`` or ``density``, ``pressure``, ``Vx`` … beside ``x-coordinate`` and ``t-coordinate``."""

    layout = "pdebench"

    def recognizes(self, path: Path) -> bool:
        """By a field and its coordinate in the root group."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return "x-coordinate" in file and ("tensor" in file or "density" in file)

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Opens the file.

        Args:
            path: the file.
            periodic: whether the axes close on themselves; default: as the problem or the file name
                says, else unknown.
        """
        handle = HDF5Handle(path)
        file = handle.file
        axes = tuple(axis for axis in AXES if f"{axis}-coordinate" in file)
        params = parameters(file.attrs, path)
        problem = _problem(file, params)
        ds = _darcy(handle, axes) if problem == "darcy" else _evolution(handle, axes)
        closes = _periodic(problem, path) if periodic is None else int(periodic)
        for axis in axes:
            centers = np.asarray(file[f"{axis}-coordinate"])
            attrs = {"bounds": bounds_of_cells(centers)} | (
                {} if closes is None else {"periodic": closes}
            )
            _same_length(path, axis, len(centers), ds.sizes[axis])
            ds = ds.assign_coords({axis: (axis, centers, attrs)})
        ds = ds.assign({name: ((), value, {"role": "parameter"}) for name, value in params.items()})
        ds.attrs = {"layout": self.layout, "problem": problem}
        if problem in SYMMETRIES:
            ds.attrs["symmetries"] = json.dumps(SYMMETRIES[problem])
        ds.set_close(handle.close)
        return check(ds, path)


def _problem(file: h5py.File, params: dict[str, float]) -> str:
    if "density" in file:
        return "compressible_flow"
    if "nu" in file:
        return "darcy"
    names = {name.lower() for name in params}
    return (
        "reaction_diffusion"
        if "rho" in names
        else "burgers"
        if "nu" in names
        else "advection"
        if "beta" in names
        else ""
    )


def _periodic(problem: str, path: Path) -> int | None:
    if problem == "compressible_flow":
        return 1 if "periodic" in path.name else 0 if "trans" in path.name else None
    return {"darcy": 0, "": None}.get(problem, 1)


def parameters(attrs: Any, path: Path) -> dict[str, float]:
    """PDE constants from the attributes, else from parts of the file name (``Nu1e-08``, ``beta0.1``)."""
    found = {name: float(np.ravel(attrs[name])[0]) for name in PARAMETERS if name in attrs}
    if found:
        return found
    number = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"
    matches = re.findall(rf"(?:^|_)({'|'.join(PARAMETERS)}){number}(?=_|\.[A-Za-z]|$)", path.name)
    return {name: float(value) for name, value in matches}


def _darcy(handle: HDF5Handle, axes: tuple[str, ...]) -> xr.Dataset:
    nu, u = handle.array("nu"), handle.array("tensor")
    if nu.ndim != 3 or u.ndim not in (3, 4) or nu.shape != (u.shape[0], *u.shape[-2:]):
        raise DataError(
            f"{handle.path}: `nu` has shape {nu.shape}, `tensor` {u.shape}; expected (N, X, Y) and (N, 1, X, Y)."
        )
    variables = {
        "nu": lazy(
            ("sample", *axes),
            StoredArray(handle, "nu"),
            {"role": "input", "long_name": "permeability"},
        ),
        "u": lazy(
            ("sample", *axes),
            StoredArray(handle, "tensor", fixed={1: 0} if u.ndim == 4 else {}),
            {"role": "output"},
        ),
    }
    return xr.Dataset(variables)


def _evolution(handle: HDF5Handle, axes: tuple[str, ...]) -> xr.Dataset:
    file = handle.file
    names = {"u": "tensor"} if "tensor" in file else {name: name for name in FLOW[: 2 + len(axes)]}
    missing = [stored for stored in names.values() if stored not in file]
    if missing:
        raise DataError(
            f"{handle.path} has axes {axes} but no {', '.join(missing)}. It is incomplete: get it again."
        )
    shapes = {stored: file[stored].shape for stored in names.values()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{handle.path}: fields have unequal shapes {shapes}; they must agree.")
    fixed = _device_axis(handle.path, next(iter(shapes.values())), len(axes))
    dims = ("sample", "time", *axes)
    ds = xr.Dataset(
        {
            n: lazy(dims, StoredArray(handle, s, fixed=fixed), {"role": "state"})
            for n, s in names.items()
        }
    )
    if "t-coordinate" not in file:
        raise DataError(
            f"{handle.path} has no `t-coordinate`. Add it, or open the file with a mapping."
        )
    times, frames = np.asarray(file["t-coordinate"]), ds.sizes["time"]
    if len(times) not in (frames, frames + 1):
        raise DataError(
            f"{handle.path}: {len(times)} times for {frames} frames; expected {frames} or {frames + 1}."
        )
    return ds.assign_coords(time=("time", times[:frames]))


def _device_axis(path: Path, shape: tuple[int, ...], space: int) -> dict[int, int]:
    if len(shape) == 2 + space:
        return {}
    if len(shape) == 3 + space and shape[0] == 1:
        return {0: 0}
    raise DataError(
        f"{path}: fields of shape {shape} with {space} space axes; expected (N, T, {', '.join('XYZ'[:space])})."
    )


def _same_length(path: Path, axis: str, coordinate: int, field: int) -> None:
    if coordinate != field:
        raise DataError(
            f"{path}: `{axis}-coordinate` has {coordinate} entries, but the fields have {field} points along {axis}."
        )
