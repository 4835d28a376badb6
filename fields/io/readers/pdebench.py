"""PDEBench: flat HDF5 files of 1-D to 3-D problems on cell centers, with axes (N, T, X, Y, Z).

The stored time axis has one entry too many (the time after the last frame) and is cut to the
frames. Parameters are attributes of the file, or else parts of the file name; whether compressible
flow is periodic is stated only in the file name. Files generated locally may have a leading axis of
length 1 (one device).

Reference: Takamoto et al., NeurIPS 2022 datasets track; format as written by ``pdebench/data_gen``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.grid import SQUARE_SYMMETRIES, cell_center_bounds
from fields.io.hdf5 import HDF5Handle, get_attribute, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5

AXES = ("x", "y", "z")

FLOW = ("density", "pressure", "Vx", "Vy", "Vz")

PARAMETERS = ("beta", "Nu", "Rho", "rho", "eta", "zeta", "Eta", "Zeta", "M")

SYMMETRIES = {
    "advection": [{"shift": ["x"]}],
    "burgers": [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}],
    "reaction_diffusion": [{"shift": ["x"]}, {"flip": ["x"]}],
    "darcy": SQUARE_SYMMETRIES,
}


class PDEBenchFlat(Reader):
    """``tensor``, or ``density``, ``pressure``, ``Vx``, …, with ``x-coordinate``, …

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "1D_Burgers_Nu0.01.hdf5"
        >>> with h5py.File(path, "w") as file:
        ...     file["tensor"] = np.zeros((2, 3, 4))
        ...     file["x-coordinate"] = np.arange(4) / 4 + 0.125
        ...     file["t-coordinate"] = np.arange(4.0)
        >>> ds = PDEBenchFlat().open(path)
        >>> float(ds["Nu"]), dict(ds.sizes)
        (0.01, {'sample': 2, 'time': 3, 'x': 4})
    """

    layout = "pdebench"
    engine = "pdebench"

    def recognizes(self, path: Path) -> bool:
        """By a field and its coordinate in the root group."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return "x-coordinate" in file and ("tensor" in file or "density" in file)

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Open the file.

        Args:
            path: the file.
            periodic: whether the axes are periodic; default: as the problem or the file name says,
                else unknown.
        """
        handle = HDF5Handle(path)
        file = handle.file
        axes = tuple(axis for axis in AXES if f"{axis}-coordinate" in file)
        parameters = _parameters(file, path)
        problem = _problem(file, parameters)
        ds = _darcy(handle, axes) if problem == "darcy" else _evolution(handle, axes)
        known = _periodic(problem, path) if periodic is None else int(periodic)
        for axis in axes:
            centers = np.asarray(handle.array(f"{axis}-coordinate"))
            _check_length(path, axis, len(centers), ds.sizes[axis])
            attrs: dict[str, Any] = {"bounds": cell_center_bounds(centers)}
            if known is not None:
                attrs["periodic"] = known
            ds = ds.assign_coords({axis: (axis, centers, attrs)})
        for name, value in parameters.items():
            ds[name] = ((), value, {"role": "parameter"})
        ds.attrs = {"layout": self.layout, "problem": problem}
        if problem in SYMMETRIES:
            ds.attrs["symmetries"] = json.dumps(SYMMETRIES[problem])
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _problem(file: h5py.File, parameters: dict[str, float]) -> str:
    if "density" in file:
        return "compressible_flow"
    if "nu" in file:
        return "darcy"
    names = {name.lower() for name in parameters}
    if "rho" in names:
        return "reaction_diffusion"
    if "nu" in names:
        return "burgers"
    return "advection" if "beta" in names else ""


def _periodic(problem: str, path: Path) -> int | None:
    if problem == "compressible_flow":
        return 1 if "periodic" in path.name else 0 if "trans" in path.name else None
    return {"darcy": 0, "": None}.get(problem, 1)


def _parameters(file: h5py.File, path: Path) -> dict[str, float]:
    """PDE constants from the attributes, else from the file name (``Nu1e-08``, ``beta0.1``)."""
    values = {name: get_attribute(file, name) for name in PARAMETERS}
    found = {name: float(np.ravel(value)[0]) for name, value in values.items() if value is not None}
    if found:
        return found
    number = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"
    pattern = rf"(?:^|_)({'|'.join(PARAMETERS)}){number}(?=_|\.[A-Za-z]|$)"
    return {name: float(value) for name, value in re.findall(pattern, path.name)}


def _darcy(handle: HDF5Handle, axes: tuple[str, ...]) -> xr.Dataset:
    nu = handle.array("nu")
    u = handle.array("tensor")
    if nu.ndim != 3 or u.ndim not in (3, 4) or nu.shape != (u.shape[0], *u.shape[-2:]):
        raise DataError(
            f"{handle.path}: `nu` has the shape {nu.shape} and `tensor` {u.shape}, expected "
            "(N, X, Y) and (N, 1, X, Y)."
        )
    dims = ("sample", *axes)
    solution = StoredArray(handle, "tensor", fixed={1: 0} if u.ndim == 4 else {})
    permeability = {"role": "input", "long_name": "permeability"}
    return xr.Dataset(
        {
            "nu": lazy_variable(dims, StoredArray(handle, "nu"), permeability),
            "u": lazy_variable(dims, solution, {"role": "output"}),
        }
    )


def _evolution(handle: HDF5Handle, axes: tuple[str, ...]) -> xr.Dataset:
    file = handle.file
    names = {"u": "tensor"} if "tensor" in file else {name: name for name in FLOW[: 2 + len(axes)]}
    missing = [stored for stored in names.values() if stored not in file]
    if missing:
        raise DataError(
            f"{handle.path} has the axes {', '.join(axes)} but no {', '.join(missing)}. The file "
            "is incomplete. Download it again."
        )
    shapes = {stored: file[stored].shape for stored in names.values()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{handle.path}: the fields have different shapes {shapes}.")
    fixed = _device_axis(handle.path, next(iter(shapes.values())), len(axes))
    variables = {}
    for name, stored in names.items():
        array = StoredArray(handle, stored, fixed=fixed)
        variables[name] = lazy_variable(("sample", "time", *axes), array, {"role": "state"})
    ds = xr.Dataset(variables)
    if "t-coordinate" not in file:
        raise DataError(
            f"{handle.path} has no `t-coordinate`. Add it, or open the file with a mapping."
        )
    times = np.asarray(handle.array("t-coordinate"))
    frames = ds.sizes["time"]
    if len(times) not in (frames, frames + 1):
        raise DataError(
            f"{handle.path} has {len(times)} times for {frames} frames, expected {frames} or "
            f"{frames + 1}."
        )
    return ds.assign_coords(time=("time", times[:frames]))


def _device_axis(path: Path, shape: tuple[int, ...], space: int) -> dict[int, int]:
    """The index that removes the leading axis of locally generated files."""
    if len(shape) == 2 + space:
        return {}
    if len(shape) == 3 + space and shape[0] == 1:
        return {0: 0}
    expected = ", ".join(("N", "T", *"XYZ"[:space]))
    raise DataError(f"{path}: the fields have the shape {shape}, expected ({expected}).")


def _check_length(path: Path, axis: str, coordinate: int, field: int) -> None:
    if coordinate != field:
        raise DataError(
            f"{path}: `{axis}-coordinate` has {coordinate} entries, but the fields have {field} "
            f"points along {axis}."
        )
