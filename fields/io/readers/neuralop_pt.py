"""neuraloperator ``.pt`` files: tensors ``x`` (input), ``y`` (output) and sometimes ``visc``.

There are no coordinates. The points of every axis are at i/n of the unit interval (left edges): row
0 of the Darcy set lies on the boundary, the last row does not. With a boolean ``x`` the problem is
Darcy flow −∇·(a∇u) = f, u = 0 on the boundary of the unit square. With ``visc`` it is Burgers'
equation u_t + u u_x = ν u_xx, periodic on [0, 1], with frames at t = 0 … 1. The tensors have no
channel axis.

Reference: Kossaifi et al., "A Library for Learning Neural Operators", 2024; format of
neuraloperator ``data/datasets``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError, Reader, check_canonical
from fields.io.grid import SQUARE_SYMMETRIES
from fields.io.handles import Handle, TorchHandle, torch_content
from fields.io.lazy import StoredArray, lazy_variable

AXES = ("x", "y", "z")

BURGERS_SYMMETRIES = [{"shift": ["x"]}, {"flip": ["x"], "negate": ["u"]}]


class NeuralopPt(Reader):
    """Tensors ``x`` and ``y`` saved by ``torch.save``.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "darcy.pt"
        >>> torch.save({"x": torch.rand(3, 8, 8) > 0.5, "y": torch.rand(3, 8, 8)}, path)
        >>> ds = NeuralopPt().open(path)
        >>> ds.attrs["problem"], dict(ds.sizes)
        ('darcy', {'sample': 3, 'x': 8, 'y': 8})
    """

    layout = "neuralop_pt"
    engine = "neuralop_pt"

    def recognizes(self, path: Path) -> bool:
        """By the keys ``x`` and ``y``."""
        content = torch_content(path)
        return isinstance(content, dict) and {"x", "y"} <= content.keys()

    def open(self, path: Path, *, periodic: bool | None = None) -> xr.Dataset:
        """Open the tensors.

        Args:
            path: the file.
            periodic: whether the axes are periodic; default: as in the recognized problem, else
                unknown.
        """
        handle = TorchHandle(path)
        x = handle.array("x")
        y = handle.array("y")
        same_grid = x.shape[0] == y.shape[0] and x.shape[1:] == y.shape[-(x.ndim - 1) :]
        if not same_grid or not 2 <= x.ndim <= y.ndim <= x.ndim + 1:
            raise DataError(
                f"{path}: x has the shape {tuple(x.shape)} and y {tuple(y.shape)}; they must have "
                "the same samples and the same grid."
            )
        ds = _evolution(handle) if y.ndim == x.ndim + 1 else _static(handle)
        known = ds.attrs.pop("periodic", None)
        if periodic is not None:
            known = int(periodic)
        for axis, n in zip(AXES, x.shape[1:], strict=False):
            attrs = {"bounds": (0.0, 1.0)} | ({} if known is None else {"periodic": known})
            ds = ds.assign_coords({axis: (axis, np.arange(n) / n, attrs)})
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _static(handle: Handle) -> xr.Dataset:
    dims = ("sample", *AXES[: handle.array("x").ndim - 1])
    variables = {
        "input": lazy_variable(dims, StoredArray(handle, "x"), {"role": "input"}),
        "output": lazy_variable(dims, StoredArray(handle, "y"), {"role": "output"}),
    }
    attrs: dict[str, Any] = {"layout": NeuralopPt.layout}
    if handle.array("x").dtype == bool and len(dims) == 3:
        attrs |= {"problem": "darcy", "symmetries": json.dumps(SQUARE_SYMMETRIES), "periodic": 0}
    return xr.Dataset(variables, attrs=attrs)


def _evolution(handle: Handle) -> xr.Dataset:
    x = handle.array("x")
    y = handle.array("y")
    dims = ("sample", "time", *AXES[: x.ndim - 1])
    attrs: dict[str, Any] = {"layout": NeuralopPt.layout}
    if np.array_equal(y[:, 0], x):
        variables = {"u": lazy_variable(dims, StoredArray(handle, "y"), {"role": "state"})}
    else:
        still = dims[:1] + dims[2:]
        variables = {
            "input": lazy_variable(still, StoredArray(handle, "x"), {"role": "input"}),
            "output": lazy_variable(dims, StoredArray(handle, "y"), {"role": "output"}),
        }
    if "visc" in handle.file:
        visc = {"role": "parameter", "long_name": "viscosity ν"}
        variables["visc"] = xr.Variable((), float(np.ravel(handle.array("visc"))[0]), visc)
        attrs |= {"problem": "burgers", "periodic": 1}
        if "u" in variables and x.ndim == 2:
            attrs["symmetries"] = json.dumps(BURGERS_SYMMETRIES)
    return xr.Dataset(variables, {"time": ("time", np.linspace(0.0, 1.0, y.shape[1]))}, attrs)
