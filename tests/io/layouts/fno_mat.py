"""MATLAB files of the Fourier neural operator, and trajectories in ``.npz``."""

import numpy as np
import scipy.io
import writers

from layouts import Example


def version_5(*, compressed):
    def write(folder):
        arrays = {"a": writers.rng().random((4, 9)), "u": writers.rng().random((4, 9))}
        with open(folder / "a", "wb") as file:
            scipy.io.savemat(file, arrays, do_compression=compressed)
        return folder / "a"

    return write


def version_7_3(folder):
    u = writers.rng().normal(size=(3, 4, 5, 6))
    writers.mat73(folder / "a", {"u": u, "t": np.arange(1.0, 7)[None]})
    return folder / "a"


def npz(folder):
    u = writers.rng().random((8, 5))
    with open(folder / "a", "wb") as file:
        np.savez_compressed(file, x=np.arange(8.0), t=np.arange(5.0), u=u)
    return folder / "a"


EXAMPLES = {
    "fno, mat 5": Example(version_5(compressed=False), "fno_mat", whole_arrays=True),
    "fno, mat 5, compressed": Example(
        version_5(compressed=True), "fno_mat", checked=True, whole_arrays=True
    ),
    "fno, mat 7.3": Example(version_7_3, "fno_mat"),
    "fno, npz": Example(npz, "fno_mat", checked=True, whole_arrays=True),
}
