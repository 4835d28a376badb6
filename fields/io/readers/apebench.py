"""APEBench: ``<name>_train.npy`` or ``<name>_test.npy``, (N, T, C, *grid) with channels before space, beside
``<name>.json``.

Grids are periodic at i L/n. The JSON file names ``domain_extent`` L and ``dt`` where the scenario
is in physical units; without them L = 1 and time counts frames.

Reference: Koehler, Niedermayr, Westermann & Thuerey, NeurIPS 2024 datasets track
(``apebench/_scraper.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import SPLITS, DataError, Reader, check
from fields.io.diagnose import head
from fields.io.grid import axis
from fields.io.handles import NumpyHandle
from fields.io.lazy import StoredArray, lazy


class APEBench(Reader):
    """One ``.npy`` array of at least four axes, memory-mapped."""

    layout = "apebench"

    def recognizes(self, path: Path) -> bool:
        """By numpy's signature and an array (N, T, C, X, …)."""
        return head(path, 6) == b"\x93NUMPY" and 4 <= NumpyHandle(path).array("array").ndim <= 6

    def open(self, path: Path) -> xr.Dataset:
        """Opens the array and the JSON file beside it, if there is one."""
        handle = NumpyHandle(path)
        samples, frames, channels, *grid = handle.array("array").shape
        about = _about(path)
        length, dt = float(about.get("domain_extent", 1.0)), float(about.get("dt", 1.0))
        axes = ("x", "y", "z")[: len(grid)]
        dims = ("sample", "time", *axes)
        variables = {
            "u" if channels == 1 else f"u_{c}": lazy(
                dims,
                StoredArray(handle, "array", order=(0, 1, *range(3, 3 + len(axes))), fixed={2: c}),
                {"role": "state"},
            )
            for c in range(channels)
        }
        coords: dict[str, Any] = {"time": ("time", np.arange(frames) * dt)}
        coords |= {
            name: axis(name, np.arange(n) * length / n, periodic=True)
            for name, n in zip(axes, grid, strict=True)
        }
        word = path.stem.rsplit("_", 1)[-1]
        if word in ("train", "test"):
            coords["split"] = ("sample", np.full(samples, SPLITS.index(word), np.int8))
        attrs = {
            "layout": self.layout,
            "problem": str(about.get("name", path.stem.removesuffix(f"_{word}"))),
        }
        if about:
            attrs["protocol"] = json.dumps(about)
        ds = xr.Dataset(variables, coords, attrs)
        ds.set_close(handle.close)
        return check(ds, path)


def _about(path: Path) -> dict[str, Any]:
    """The scenario's JSON file, named without ``_train`` or ``_test``."""
    beside = path.with_name(path.stem.rsplit("_", 1)[0] + ".json")
    if not beside.exists():
        return {}
    try:
        about = json.loads(beside.read_text())
    except ValueError as error:
        raise DataError(
            f"{beside} beside {path.name} is no valid JSON ({error}). Repair it or move it away."
        ) from error
    return about if isinstance(about, dict) else {}
