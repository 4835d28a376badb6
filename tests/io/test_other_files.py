"""HDF5 files that refer to other files, or that another program is writing."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from fields.io import DataError, open_dataset

VALUES = np.random.default_rng(0).normal(size=(4, 5, 16)).astype("f4")


def add_axes(file):
    file["x-coordinate"] = np.arange(16) / 16
    file["t-coordinate"] = np.arange(6) / 5


def virtual_file(path, folder="."):
    """One run per file, and a virtual array of all runs."""
    layout = h5py.VirtualLayout(VALUES.shape, "f4")
    for i, run in enumerate(VALUES):
        name = f"{folder}/run{i}.h5"
        with h5py.File(path.parent / name, "w") as file:
            file["u"] = run
        layout[i] = h5py.VirtualSource(name, "u", shape=run.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("tensor", layout)
        add_axes(file)


def test_a_virtual_array_is_read(tmp_path):
    virtual_file(tmp_path / "all.h5")
    with open_dataset(tmp_path / "all.h5") as ds:
        np.testing.assert_array_equal(ds["u"], VALUES)


def test_a_missing_part_of_a_virtual_array_is_named(tmp_path):
    virtual_file(tmp_path / "all.h5")
    (tmp_path / "run2.h5").unlink()
    with pytest.raises(DataError, match=r"its part .*run2\.h5 does not exist"):
        open_dataset(tmp_path / "all.h5")


def test_a_virtual_array_outside_the_folder_must_be_allowed(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "here" / "all.h5"
    virtual_file(path, "../elsewhere")
    with pytest.raises(DataError, match=r"outside the folder of the file.*allow_external=True"):
        open_dataset(path)
    with open_dataset(path, allow_external=True) as ds:
        np.testing.assert_array_equal(ds["u"], VALUES)


def external_storage(path):
    VALUES.tofile(path.parent / "raw.bin")
    with h5py.File(path, "w") as file:
        external = [("raw.bin", 0, VALUES.nbytes)]
        file.create_dataset("tensor", VALUES.shape, "f4", external=external)
        add_axes(file)


def external_coordinate(path):
    (np.arange(16) / 16).tofile(path.parent / "raw.bin")
    with h5py.File(path, "w") as file:
        file["tensor"] = VALUES
        add_axes(file)
        del file["x-coordinate"]
        file.create_dataset("x-coordinate", (16,), "f8", external=[("raw.bin", 0, 128)])


def external_link(path):
    with h5py.File(path.parent / "raw.bin", "w") as file:
        file["u"] = VALUES
    with h5py.File(path, "w") as file:
        file["tensor"] = h5py.ExternalLink("raw.bin", "/u")
        add_axes(file)


def soft_link(path):
    """A soft link whose target is reached through an external link to a group."""
    with h5py.File(path.parent / "raw.bin", "w") as file:
        file["group/u"] = VALUES
    with h5py.File(path, "w") as file:
        file["hidden/away"] = h5py.ExternalLink("raw.bin", "/group")
        file["tensor"] = h5py.SoftLink("hidden/away/u")
        add_axes(file)


@pytest.mark.parametrize("write", [external_storage, external_coordinate, external_link, soft_link])
def test_another_file_is_read_only_if_it_is_allowed(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)  # HDF5 looks for external storage in the working directory
    path = tmp_path / "all.h5"
    write(path)
    with pytest.raises(DataError, match=r"raw\.bin.*allow_external=True") as raised:
        open_dataset(path)
    assert "damaged" not in str(raised.value)
    with open_dataset(path, allow_external=True) as ds:
        np.testing.assert_array_equal(ds["u"], VALUES)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["u"], VALUES)


def test_a_link_behind_many_others_is_found_when_it_is_used(tmp_path):
    external_link(tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5", "a") as file:
        for i in range(1200):  # they come before `tensor` in alphabetical order
            file[f"extra/{i}"] = h5py.SoftLink("/x-coordinate")
    with pytest.raises(DataError, match=r"raw\.bin"):
        mapping = {"dims": ["sample", "time", "x"], "fields": {"u": "/tensor"}}
        open_dataset(tmp_path / "all.h5", mapping=mapping)


WRITER = """
import h5py, sys, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
tensor = file.create_dataset("tensor", (0, 5, 16), "f4", maxshape=(None, 5, 16), chunks=(1, 5, 16))
file["x-coordinate"] = np.arange(16) / 16
file["t-coordinate"] = np.arange(6) / 5
if sys.argv[2] == "swmr":
    file.swmr_mode = True
tensor.resize(3, 0)
tensor[:] = 1.0
file.flush()
print("ready", flush=True)
sys.stdin.read()
"""


class Writer:
    """A program that keeps a file open for writing."""

    def __init__(self, path, mode):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process.stdout.readline()

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_a_file_in_swmr_mode_is_read(tmp_path):
    with Writer(tmp_path / "live.h5", "swmr") as process:
        for _ in range(2):  # while it is written, and after the writer was killed
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with open_dataset(tmp_path / "live.h5") as ds:
                    assert ds["u"].shape == (3, 5, 16) and (ds["u"].values == 1).all()
            assert len([w for w in caught if "open for writing" in str(w.message)]) == 1
            process.kill()
            process.wait()


def test_a_file_that_is_not_in_swmr_mode_must_wait_for_its_writer(tmp_path):
    with (
        Writer(tmp_path / "live.h5", "plain"),
        warnings.catch_warnings(),
        pytest.raises(DataError, match="not in SWMR mode"),
    ):
        warnings.simplefilter("ignore")
        open_dataset(tmp_path / "live.h5")


def test_one_warning_for_a_file_that_is_being_written(tmp_path):
    code = WRITER.replace('libver="latest"', 'libver="earliest"')
    path = tmp_path / "live.h5"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path), "plain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with open_dataset(path) as ds:
                assert ds["u"].shape == (3, 5, 16)
                ds.load()
        process.stdin.close()
    assert len([w for w in caught if "open for writing" in str(w.message)]) == 1


@pytest.mark.parametrize("size", [512, 2048, 2**16])
def test_a_file_behind_a_user_block_is_read(tmp_path, size):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=size) as file:
        file["tensor"] = VALUES
        add_axes(file)
    with open_dataset(Path(tmp_path / "a.h5")) as ds:
        np.testing.assert_array_equal(ds["u"], VALUES)
