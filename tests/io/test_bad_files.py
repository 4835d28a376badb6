"""A file that cannot be opened raises a message: what was given, why it fails, what to do."""

import fcntl
import importlib.util
import os
import pickle
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import writers

from fields.io import DataError, open_dataset
from fields.io.tools.validate import validate


def cut(path):
    writers.the_well(path)
    path.write_bytes(path.read_bytes()[:-3000])


def without(name):
    def write(path):
        writers.the_well(path)
        with h5py.File(path, "a") as file:
            owner = file[os.path.dirname(name) or "/"]
            del (owner if os.path.basename(name) in owner else owner.attrs)[os.path.basename(name)]

    return write


def flat(**changes):
    def write(path):
        writers.pdebench_flat(path, kind="cfd1")
        with h5py.File(path, "a") as file:
            for name, values in changes.items():
                name = name.replace("_", "-")
                if name in file:
                    del file[name]
                if values is not None:
                    file[name] = values

    return write


def compressed(path, code):
    """A file that says that it is compressed with the HDF5 filter ``code``."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 4, 6))
        properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((3, 4, 6))
        h5py.h5d.create(file.id, b"tensor", h5py.h5t.NATIVE_FLOAT, space, properties)
        file["x-coordinate"] = np.arange(6.0)
        file["t-coordinate"] = np.arange(4.0)


# HDF5 reserves 256 to 511 for testing, so that no installed plugin can provide this filter.
TESTING_FILTER = 400
ZSTANDARD = 32015

BAD = {
    "truncated": (cut, r"is truncated: it has only \d+ bytes .* Download or generate it again"),
    "empty": (lambda p: p.write_bytes(b""), r"is empty\. .*interrupted"),
    "a web page": (
        lambda p: p.write_text("\n<!DOCTYPE html><html>404"),
        "is a web page, not a data file",
    ),
    "a git-lfs pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Run `git lfs pull`",
    ),
    "an empty directory": (
        lambda p: p.mkdir(),
        "is a directory, but not a dataset with the folders",
    ),
    "text": (lambda p: p.write_text("1 2 3"), "has an unknown layout"),
    "only a signature": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)),
        "has the signature of HDF5 but cannot be opened",
    ),
    "no group": (without("dimensions/time"), "`dimensions` has no `time`"),
    "no attribute": (without("dimensions/spatial_dims"), "has no attribute `spatial_dims`"),
    "no field": (without("t1_fields/velocity"), "has no array `t1_fields/velocity`"),
    "a field is missing": (flat(pressure=None), "has the axes x but no pressure"),
    "unequal shapes": (
        flat(pressure=np.zeros((3, 4, 5), "f4")),
        "the fields have different shapes",
    ),
    "times too few": (flat(t_coordinate=np.arange(3.0)), "3 times for 4 frames"),
    "no times": (flat(t_coordinate=None), "no `t-coordinate`"),
    "coordinate too short": (
        flat(x_coordinate=np.arange(5.0)),
        "has 5 entries, but the fields have 6",
    ),
    "not monotone": (
        flat(x_coordinate=[0, 1, 2, 2, 4, 5.0]),
        r"`x` is not strictly monotonic: 2.0 at index 2 is followed by 2.0",
    ),
    "a coordinate is NaN": (
        flat(x_coordinate=[0, 1, np.nan, 3, 4, 5]),
        "`x` is not finite at index 2",
    ),
    "text for numbers": (flat(density=np.full((3, 4, 6), b"a")), "`density` is not numeric"),
    "no samples": (
        flat(**{n: np.zeros((0, 4, 6)) for n in ("density", "pressure", "Vx")}),
        "`sample` has length 0",
    ),
    "unknown compression": (
        lambda p: compressed(p, TESTING_FILTER),
        "a method unknown to this program .*filter 400.* Install the HDF5 plugin",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_message_names_the_file_and_the_problem(tmp_path, case):
    write, message = BAD[case]
    write(tmp_path / "data.hdf5")
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(tmp_path / "data.hdf5")
    text = str(raised.value)
    assert "data.hdf5" in text and "\n" not in text.strip() and len(text) < 700
    assert [f.level for f in validate(tmp_path / "data.hdf5")] == ["error"]


def test_a_filter_of_an_absent_plugin_says_what_to_install(tmp_path, monkeypatch):
    """Also where the plugin is installed: the test makes it unavailable."""
    compressed(tmp_path / "a.h5", ZSTANDARD)
    available = h5py.h5z.filter_avail
    monkeypatch.setattr("h5py.h5z.filter_avail", lambda code: code != ZSTANDARD and available(code))
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    message = r"compressed with Zstandard \(HDF5 filter 32015\).* Run `pip install hdf5plugin`"
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.h5")


def test_a_filter_of_an_installed_plugin_is_used(tmp_path):
    """The file is written by another process, so that this one has not loaded the plugin."""
    if importlib.util.find_spec("hdf5plugin") is None:
        pytest.skip("hdf5plugin is not installed: pip install -e '.[plugins]'")
    code = (
        "import h5py, hdf5plugin, numpy as np\n"
        "with h5py.File('a.h5', 'w') as file:\n"
        "    values = np.arange(72.0).reshape(3, 4, 6)\n"
        "    file.create_dataset('tensor', data=values, **hdf5plugin.Zstd())\n"
        "    file['x-coordinate'] = np.arange(6.0)\n"
        "    file['t-coordinate'] = np.arange(4.0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with open_dataset(tmp_path / "a.h5") as ds:
        np.testing.assert_array_equal(ds["u"], np.arange(72.0).reshape(3, 4, 6))


def test_a_missing_file_says_where_it_was_looked_for():
    with pytest.raises(DataError, match=r"does not exist\. The working directory is /"):
        open_dataset("nowhere/a.h5")


def test_a_file_that_is_being_written_is_read_with_a_warning(tmp_path):
    data = writers.pdebench_flat(tmp_path / "a.h5")
    with open(tmp_path / "a.h5", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.warns(UserWarning, match="open for writing in another program"):
            ds = open_dataset(tmp_path / "a.h5")
            np.testing.assert_array_equal(ds["u"], data["tensor"])


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_no_code_of_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"x": Trap()}))
        archive.writestr("a/version", "3")
    np.save("b.npy", np.full((2, 2, 2, 2), Trap(), object), allow_pickle=True)
    for name in ("a.pt", "b.npy"):
        with pytest.raises(DataError):
            open_dataset(name)
    assert not (tmp_path / "trapped").exists()


def test_a_corrupt_chunk_is_named_when_it_is_read_and_the_rest_stays_readable(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "tensor", data=writers.rng().random((3, 4, 64)), chunks=(1, 1, 64), fletcher32=True
        )
        file["x-coordinate"] = np.arange(64.0)
        file["t-coordinate"] = np.arange(4.0)
        place = file["tensor"].id.get_chunk_info_by_coord((1, 2, 0)).byte_offset
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[place + 9] ^= 255
    (tmp_path / "a.h5").write_bytes(raw)
    ds = open_dataset(tmp_path / "a.h5")
    assert np.isfinite(ds["u"][1, 3]).all()
    with pytest.raises(DataError, match=r"`tensor` cannot be read at \[1, 2, 0:64\]"):
        ds["u"][1, 2].load()
