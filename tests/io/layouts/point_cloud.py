"""Point clouds and meshes."""

import h5py
import numpy as np
import writers

from layouts import Example


def mesh(folder):
    r = writers.rng()
    with h5py.File(folder / "a", "w") as file:
        for name, shape in (("x", (4, 30)), ("y", (4, 30)), ("u", (4, 30)), ("mu", (4, 2))):
            file[name] = r.random(shape)
        file["triangles"] = np.array([[0, 1, 2], [1, 2, 29]])
    return folder / "a"


EXAMPLES = {"points": Example(mesh, "points")}
