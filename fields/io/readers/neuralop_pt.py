"""neuraloperator's ``.pt`` files: a dict of tensors ``x`` (input), ``y`` (output) and perhaps ``visc``, no coordinates.

Points of every axis are at i/n of the unit interval (left edges): row 0 of the Darcy set lies on
the boundary, the last row does not. With a boolean ``x`` it is the Darcy problem −∇·(a∇u) = f, u =
0 on the boundary of the unit square; with ``visc`` it is Burgers' equation u_t + u u_x = ν u_xx,
periodic on [0, 1], frames at t = 0 … 1.

Reference: neuraloperator ``data/datasets``; the tensors carry no channel axis.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check
from fields.io.diagnose import is_zip
from fields.io.handles import Handle, TorchHandle
from fields.io.lazy import StoredArray, lazy

AXES = ("x", "y", "z")

DARCY_SYMMETRIES = [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]

BURGERS_SYMMETRIES = [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}]


class NeuralopPt(Reader):
    """Pairs of tensors ``x``, ``y`` saved by ``torch.save``."""

    layout = "neuralop_pt"

    def recognizes(self, path: Path) -> bool:
        """By the keys ``x`` and ``y``."""
        content = torch_content(path)
        return isinstance(content, dict) and {"x", "y"} <= content.keys()

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Opens the pair.

        Args:
            path: the file.
            periodic: whether the axes close on themselves; default: as the problem is known to,
                else unknown.
        """
        handle = TorchHandle(path)
        x, y = handle.array("x"), handle.array("y")
        if (
            x.shape[0] != y.shape[0]
            or x.shape[1:] != y.shape[-(x.ndim - 1) :]
            or not 2 <= x.ndim <= y.ndim <= x.ndim + 1
        ):
            raise DataError(
                f"{path}: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; they must share samples and grid."
            )
        ds = _burgers(handle) if y.ndim == x.ndim + 1 else _static(handle)
        closes = {True: 1, False: 0, None: ds.attrs.pop("periodic", None)}[periodic]
        for axis, n in zip(AXES, x.shape[1:], strict=False):
            attrs = {"bounds": (0.0, 1.0)} | ({} if closes is None else {"periodic": closes})
            ds = ds.assign_coords({axis: (axis, np.arange(n) / n, attrs)})
        ds.set_close(handle.close)
        return check(ds, path)


def torch_content(path: Path) -> Any:
    """What ``torch.load`` finds in a file, without running code of the file; None if it is no such file."""
    if not is_zip(path):
        return None
    import zipfile

    if not any(name.endswith("data.pkl") for name in zipfile.ZipFile(path).namelist()):
        return None
    return TorchHandle(path).file


def _static(handle: Handle) -> xr.Dataset:
    dims = ("sample", *AXES[: handle.array("x").ndim - 1])
    variables = {
        "input": lazy(dims, StoredArray(handle, "x"), {"role": "input"}),
        "output": lazy(dims, StoredArray(handle, "y"), {"role": "output"}),
    }
    attrs: dict[str, Any] = {"layout": NeuralopPt.layout}
    if handle.array("x").dtype == bool and len(dims) == 3:
        attrs |= {"problem": "darcy", "symmetries": json.dumps(DARCY_SYMMETRIES), "periodic": 0}
    return xr.Dataset(variables, attrs=attrs)


def _burgers(handle: Handle) -> xr.Dataset:
    x, y = handle.array("x"), handle.array("y")
    dims = ("sample", "time", *AXES[: x.ndim - 1])
    attrs: dict[str, Any] = {"layout": NeuralopPt.layout}
    if np.array_equal(y[:, 0], x):
        variables = {"u": lazy(dims, StoredArray(handle, "y"), {"role": "state"})}
    else:
        variables = {
            "input": lazy(dims[:1] + dims[2:], StoredArray(handle, "x"), {"role": "input"}),
            "output": lazy(dims, StoredArray(handle, "y"), {"role": "output"}),
        }
    if "visc" in handle.file:
        visc = {"role": "parameter", "long_name": "viscosity ν"}
        variables["visc"] = xr.Variable((), float(handle.array("visc").reshape(-1)[0]), visc)
        attrs |= {"problem": "burgers", "periodic": 1}
        if "u" in variables and x.ndim == 2:
            attrs["symmetries"] = json.dumps(BURGERS_SYMMETRIES)
    return xr.Dataset(variables, {"time": ("time", np.linspace(0.0, 1.0, y.shape[1]))}, attrs)
