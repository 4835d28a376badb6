"""A bad file ends in one clear sentence: what was given, why it cannot work, what to do."""

import fcntl
import os
import pickle
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


def unknown_filter(path):
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 4, 6))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((3, 4, 6))
        h5py.h5d.create(file.id, b"tensor", h5py.h5t.NATIVE_FLOAT, space, properties)
        file["x-coordinate"], file["t-coordinate"] = np.arange(6.0), np.arange(4.0)


BAD = {
    "truncated": (cut, r"is cut short: it has \d+ bytes .* Get it again"),
    "empty": (lambda p: p.write_bytes(b""), "is empty: .*interrupted"),
    "a web page": (lambda p: p.write_text("\n<!DOCTYPE html><html>404"), "is a web page, not data"),
    "a git-lfs pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Run `git lfs pull`",
    ),
    "an empty directory": (lambda p: p.mkdir(), "is a directory"),
    "text": (lambda p: p.write_text("1 2 3"), "has no known layout"),
    "only a signature": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)),
        "begins like HDF5 but cannot be opened",
    ),
    "no group": (without("dimensions/time"), "`dimensions` has no `time`"),
    "no attribute": (without("dimensions/spatial_dims"), "has no attribute `spatial_dims`"),
    "no field": (without("t1_fields/velocity"), "has no array `t1_fields/velocity`"),
    "a field is missing": (flat(pressure=None), "has axes .* but no pressure"),
    "unequal shapes": (flat(pressure=np.zeros((3, 4, 5), "f4")), "unequal shapes .* must agree"),
    "times too few": (flat(t_coordinate=np.arange(3.0)), "3 times for 4 frames"),
    "no times": (flat(t_coordinate=None), "no `t-coordinate`"),
    "coordinate too short": (
        flat(x_coordinate=np.arange(5.0)),
        "has 5 entries, but the fields have 6",
    ),
    "not monotone": (
        flat(x_coordinate=[0, 1, 2, 2, 4, 5.0]),
        r"`x` is not monotone: 2.0 at index 2 is followed by 2.0",
    ),
    "a coordinate is NaN": (
        flat(x_coordinate=[0, 1, np.nan, 3, 4, 5]),
        "`x` is not finite at index 2",
    ),
    "text for numbers": (flat(density=np.full((3, 4, 6), b"a")), "not numbers"),
    "no samples": (
        flat(**{n: np.zeros((0, 4, 6)) for n in ("density", "pressure", "Vx")}),
        "`sample` has length 0",
    ),
    "unknown compression": (
        unknown_filter,
        "compressed with Zstandard .* Run `pip install hdf5plugin`",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_one_sentence(tmp_path, case):
    write, message = BAD[case]
    write(tmp_path / "data.hdf5")
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(tmp_path / "data.hdf5")
    text = str(raised.value)
    assert "data.hdf5" in text and "\n" not in text.strip() and len(text) < 700
    assert [f.level for f in validate(tmp_path / "data.hdf5")] == ["error"]


def test_a_missing_file_says_where_it_was_looked_for():
    with pytest.raises(DataError, match=r"does not exist \(working directory /"):
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
        file["x-coordinate"], file["t-coordinate"] = np.arange(64.0), np.arange(4.0)
        place = file["tensor"].id.get_chunk_info_by_coord((1, 2, 0)).byte_offset
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[place + 9] ^= 255
    (tmp_path / "a.h5").write_bytes(raw)
    ds = open_dataset(tmp_path / "a.h5")
    assert np.isfinite(ds["u"][1, 3]).all()
    with pytest.raises(DataError, match=r"`tensor` cannot be read at \[1, 2, 0:64\]"):
        ds["u"][1, 2].load()
