"""A file of an unknown layout, opened with a mapping."""

import h5py
import numpy as np
import writers

from layouts import Example

MAPPING = {
    "dims": ["sample", "time", "x"],
    "fields": {"psi": "/run/psi"},
    "coords": {"x": "/run/xs", "time": "/run/t"},
}


def unknown(folder):
    with h5py.File(folder / "a", "w") as file:
        file["run/psi"] = writers.rng().random((3, 4, 5))
        file["run/t"] = np.arange(4.0)
        file["run/xs"] = np.arange(5) / 5
    return folder / "a"


EXAMPLES = {"mapping": Example(unknown, "mapping", options={"mapping": MAPPING})}
