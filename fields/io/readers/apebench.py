"""APEBench: one ``.npy`` array (N, T, C, *grid) per split, with its scenario in a JSON file.

The files are ``<name>_train.npy`` or ``<name>_test.npy``, with channels before space, and
``<name>.json``. Grids are periodic with points at i L/n. The JSON file gives ``domain_extent`` L
and ``dt`` if the scenario has physical units; otherwise L = 1 and time counts frames.

Reference: Koehler, Niedermayr, Westermann & Thuerey, NeurIPS 2024 datasets track
(``apebench/_scraper.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import SPLITS, DataError, Reader, Specificity, check_canonical
from fields.io.grid import space_coordinate
from fields.io.handles import NumpyHandle
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_npy


class APEBench(Reader):
    """One memory-mapped ``.npy`` array with four to six axes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "1d_kdv_train.npy"
        >>> np.save(path, np.zeros((2, 5, 1, 8)))  # (N, T, C, X)
        >>> dict(APEBench().open(path).sizes)
        {'sample': 2, 'time': 5, 'x': 8}
    """

    layout = "apebench"
    specificity = Specificity.SHAPES
    engine = "apebench"

    def recognizes(self, path: Path) -> bool:
        """By the signature of numpy and the number of axes (N, T, C, X, …)."""
        return is_npy(path) and 4 <= NumpyHandle(path).array("array").ndim <= 6

    def open(self, path: Path) -> xr.Dataset:
        """Open the array and the JSON file beside it, if there is one."""
        handle = NumpyHandle(path)
        samples, frames, channels, *grid = handle.array("array").shape
        scenario = _scenario(path)
        length = float(scenario.get("domain_extent", 1.0))
        dt = float(scenario.get("dt", 1.0))
        axes = ("x", "y", "z")[: len(grid)]
        order = (0, 1, *range(3, 3 + len(axes)))
        variables = {}
        for c in range(channels):
            name = "u" if channels == 1 else f"u_{c}"
            array = StoredArray(handle, "array", order=order, fixed={2: c})
            variables[name] = lazy_variable(("sample", "time", *axes), array, {"role": "state"})
        coords: dict[str, Any] = {"time": ("time", np.arange(frames) * dt)}
        for name, n in zip(axes, grid, strict=True):
            coords[name] = space_coordinate(name, np.arange(n) * length / n, periodic=True)
        split = path.stem.rsplit("_", 1)[-1]
        if split in ("train", "test"):
            coords["split"] = ("sample", np.full(samples, SPLITS.index(split), np.int8))
        problem = str(scenario.get("name", path.stem.removesuffix(f"_{split}")))
        ds = xr.Dataset(variables, coords, {"layout": self.layout, "problem": problem})
        if scenario:
            ds.attrs["protocol"] = json.dumps(scenario)
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _scenario(path: Path) -> dict[str, Any]:
    """Content of the JSON file, whose name lacks ``_train`` or ``_test``; empty without one."""
    json_path = path.with_name(path.stem.rsplit("_", 1)[0] + ".json")
    if not json_path.exists():
        return {}
    try:
        scenario = json.loads(json_path.read_text())
    except ValueError as error:
        raise DataError(
            f"{json_path}, which describes {path.name}, is not valid JSON ({error}). "
            "Correct it or remove it."
        ) from error
    return scenario if isinstance(scenario, dict) else {}
