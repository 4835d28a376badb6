"""Damaged files on which HDF5 or scipy never return or crash; each is opened in its own process."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import writers
import xarray as xr

from fields.io import write_dataset

OPEN = """
import sys
from fields.io import DataError, open_dataset
try:
    open_dataset(sys.argv[1]).load()
    print("read")
except DataError as error:
    print(error)
"""


def opened(path, seconds=20):
    """What opening the file in another process says."""
    words = [sys.executable, "-c", OPEN, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr or f"signal {-done.returncode}"
    return done.stdout


def native(path):
    x = ("x", np.arange(8) / 8, {"periodic": 1, "bounds": (0.0, 1.0)})
    values = np.random.default_rng(0).normal(size=(3, 8))
    write_dataset(xr.Dataset({"u": (("sample", "x"), values, {"role": "output"})}, {"x": x}), path)
    return path, "u"


def dino(path):
    writers.dino_sphere(path)
    return path / "traj_0000.h5", "tasks/height"


@pytest.mark.parametrize("write", [native, lambda path: (path, writers.the_well(path))])
def test_a_heap_of_zeros_does_not_hang(tmp_path, write):
    write(tmp_path / "a.h5")
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    heap = raw.find(b"GCOL")
    raw[heap + 40 : heap + 104] = bytes(64)
    (tmp_path / "a.h5").write_bytes(raw)
    assert f"a.h5 is damaged at byte {heap}" in opened(tmp_path / "a.h5")


def reference(dataset):
    return {"data": dataset.ref, "dtype": h5py.ref_dtype}


KINDS = {
    "an integer": lambda d: {"data": 2**62},
    "one reference": reference,
    "text": lambda d: {"data": "x"},
    "references": lambda d: {"data": np.array([d.ref] * d.ndim, dtype=h5py.ref_dtype)},
    "numbers": lambda d: {"data": np.zeros(d.ndim)},
    "dangling": lambda d: {"data": np.array([h5py.Reference()] * d.ndim, dtype=h5py.ref_dtype)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [native, dino])
def test_a_list_of_dimensions_of_another_type_does_not_crash(tmp_path, make, kind):
    path, name = make(tmp_path / "a")
    with h5py.File(path, "a") as file:
        dataset = file[name]
        dataset.attrs.pop("DIMENSION_LIST", None)
        dataset.attrs.create("DIMENSION_LIST", **KINDS[kind](dataset))
    said = opened(tmp_path / "a")
    assert "DIMENSION_LIST" in said and path.name in said
