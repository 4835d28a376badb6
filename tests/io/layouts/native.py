"""The native layout."""

import numpy as np
import writers
import xarray as xr

from fields.io import write_dataset
from layouts import Example


def native(folder):
    coords = {
        name: (name, np.arange(n) / n, {"periodic": 1, "bounds": (0.0, 1.0)})
        for name, n in (("x", 5), ("y", 7))
    }
    u = writers.rng().normal(size=(3, 4, 5, 7)).astype("f4")
    ds = xr.Dataset(
        {"u": (("sample", "time", "x", "y"), u, {"role": "state"})},
        coords | {"time": ("time", np.arange(4.0))},
    )
    write_dataset(ds.assign(nu=("sample", np.arange(3.0), {"role": "parameter"})), folder / "a")
    return folder / "a"


EXAMPLES = {"native": Example(native, "bracketfields", checked=True)}
