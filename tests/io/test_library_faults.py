"""Damaged files on which HDF5 or scipy never return or crash; each is opened in its own process."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import torch
import writers
import xarray as xr

from fields.cli.main import main
from fields.io import DataError, open_dataset, write_dataset

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


def matlab(path, **arrays):
    """An uncompressed file, and the place of the tag of the numbers of its last array."""
    scipy.io.savemat(path, arrays)
    raw = path.read_bytes()
    numbers = np.asfortranarray(list(arrays.values())[-1]).tobytes(order="F")
    return bytearray(raw), raw.find(numbers) - 8


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 200, 2**15])
def test_a_matlab_array_of_an_unknown_type_does_not_crash(tmp_path, kind):
    values = np.random.default_rng(0).normal(size=(4, 9))
    raw, place = matlab(tmp_path / "a.mat", a=values + 1, u=values)
    raw[place : place + 4] = kind.to_bytes(4, "little")
    (tmp_path / "a.mat").write_bytes(raw)
    assert "a.mat is damaged or truncated" in opened(tmp_path / "a.mat")


def test_inspect_and_validate_survive_a_library_that_crashes_or_never_returns(
    tmp_path, monkeypatch, capsys
):
    native(tmp_path / "a.h5")
    loop = "while True: pass"
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    for code, said in ((crash, r"crashed (SIGSEGV)"), (loop, "was not done after")):
        hook = "import fields.io.opening as opening\ndef check_file(path):\n    " + code
        hook += "\nopening.check_file = check_file\n"
        start = "import fields.io.tools.child as child\nchild.OPENING_LIMIT = 1\nchild._answer()"
        monkeypatch.setattr("fields.io.tools.child.COMMAND", [sys.executable, "-c", hook + start])
        assert main(["inspect", str(tmp_path / "a.h5")]) == 2
        assert said in capsys.readouterr().err
        assert main(["validate", str(tmp_path / "a.h5")]) == 1
        assert said in capsys.readouterr().out


def test_the_checksum_of_a_tensor_is_checked(tmp_path):
    values = torch.rand(3, 64)
    torch.save({"x": values, "y": values + 1}, tmp_path / "a.pt")
    raw = bytearray((tmp_path / "a.pt").read_bytes())
    raw[raw.find((values + 1).numpy().tobytes()) + 17] ^= 1
    (tmp_path / "a.pt").write_bytes(raw)
    with open_dataset(tmp_path / "a.pt") as ds:
        np.testing.assert_array_equal(ds["input"], values)
        with pytest.raises(DataError, match="the checksum of an array"):
            ds["output"].load()


def test_a_damaged_parameter_is_not_left_out(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="v110") as file:
        group = file.create_group("train")
        for name, shape in (("t", (2, 3)), ("x", (2, 4)), ("y", (2, 4))):
            group[name] = np.tile(np.arange(shape[1]) * 1.0, (2, 1))
        for name in ("u", "vx", "vy"):
            group[name] = np.zeros((2, 3, 4, 4))
        group["buo_y"] = np.array([0.25, 0.5])
        address = h5py.h5o.get_info(group["buo_y"].id).addr
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[address + 20] ^= 1
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        open_dataset(tmp_path / "a.h5")


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
