"""What users hold in xarray is written and read back, or refused in one sentence."""

import io
import json

import h5netcdf
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fields.io import DataError, open_dataset, write_dataset
from fields.io.engines import FieldsEngine
from fields.io.tools.repack import repack
from fields.io.tools.validate import validate

VALUES = np.random.default_rng(0).normal(size=(4, 9)).astype("f4")


def dataset():
    return xr.Dataset(
        {
            "a": (("sample", "x"), VALUES, {"role": "input"}),
            "u": (("sample", "x"), 2 * VALUES, {"role": "output"}),
        },
        {"x": np.linspace(0, 1, 9)},
    )


def written(ds, path):
    write_dataset(ds, path)
    return open_dataset(path)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, 1),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ([1, "x"], '[1, "x"]'),
        (["x", "y"], ("x", "y")),
        ((True, False), (1, 0)),
        ((0.0, 1.0), (0.0, 1.0)),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (json, str(json)),
        ("text", "text"),
    ],
)
def test_attributes_are_stored(tmp_path, value, stored):
    ds = dataset().assign_attrs(note=value)
    ds["a"].attrs["note"] = value
    copy = written(ds, tmp_path / "a.h5")
    assert copy.attrs["note"] == stored and copy["a"].attrs["note"] == stored
    np.testing.assert_array_equal(copy["a"], ds["a"])


def test_an_attribute_of_none_is_omitted(tmp_path):
    assert "note" not in written(dataset().assign_attrs(note=None), tmp_path / "a.h5").attrs


def test_names_of_samples_are_read_back(tmp_path):
    names = ["a", "b", "läuf", "d"]
    ds = dataset().assign_coords(sample=names, label=("sample", names[::-1]))
    copy = written(ds, tmp_path / "a.h5")
    assert list(copy["sample"].values) == names and list(copy["label"].values) == names[::-1]


LEVELS = pd.MultiIndex.from_product([["p", "q"], [0, 1]], names=["g", "h"])

REFUSED = {
    "slash": (lambda ds: ds.rename(a="a/b"), "has a slash in its name"),
    "None": (
        lambda ds: ds.assign_coords(sample=np.array(["a", None, "b", "c"], object)),
        "Convert all of them",
    ),
    "levels": (
        lambda ds: ds.assign_coords(xr.Coordinates.from_pandas_multiindex(LEVELS, "sample")),
        "is a MultiIndex",
    ),
    "complex": (
        lambda ds: ds.assign(a=(("sample", "x"), VALUES * 1j, {"role": "input"})),
        "its imaginary part",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stored_is_refused(tmp_path, case):
    edit, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        write_dataset(edit(dataset()), tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_the_engine_takes_open_files_and_refuses_bytes(tmp_path):
    write_dataset(dataset(), tmp_path / "a.h5")
    with open(tmp_path / "a.h5", "rb") as file:
        ds = xr.open_dataset(file, engine=FieldsEngine)
        np.testing.assert_array_equal(ds["a"], VALUES)
        with pytest.raises(DataError, match="BytesIO has no path"):
            xr.open_dataset(io.BytesIO(file.read()), engine=FieldsEngine)


@pytest.mark.parametrize("value", [-999.0, -9999.0, 1e20, 9.96921e36, -32768.0])
def test_undeclared_fill_values_are_counted(tmp_path, value):
    ds = dataset()
    ds["u"][1:3, 4] = value
    write_dataset(ds, tmp_path / "a.h5")
    found = [f.message for f in validate(tmp_path / "a.h5") if f.where == "u"]
    assert len(found) == 1 and found[0].startswith(f"2 values are {np.float32(value):.6g}")


def test_ordinary_extremes_are_no_fill_values(tmp_path):
    ds = dataset()
    ds["u"][1:3, 4] = -998.0
    write_dataset(ds, tmp_path / "a.h5")
    assert not [f for f in validate(tmp_path / "a.h5") if f.where == "u"]


def netcdf_with_a_group(path):
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"x": 8, "time": 4}
        file.create_variable("time", ("time",), "f8")[:] = np.arange(4.0)
        file.create_variable("u", ("time", "x"), "f4")[:] = 1
        group = file.create_group("ocean/deep")
        group.create_variable("v", ("time", "x"), "f4")[:] = 2


def test_groups_of_netcdf_files_are_named_and_read_on_request(tmp_path):
    path = tmp_path / "a.nc"
    netcdf_with_a_group(path)
    with pytest.warns(UserWarning, match=r"groups ocean/deep are not read.*group='ocean/deep'"):
        assert list(open_dataset(path).data_vars) == ["u"]
    ds = open_dataset(path, group="ocean/deep")
    assert list(ds.data_vars) == ["v"] and (ds["v"].values == 2).all()
    with pytest.warns(UserWarning, match="ocean/deep"):
        said = [f.message for f in validate(path)]
    assert "Not read: the groups ocean/deep." in said
    with pytest.warns(UserWarning, match="ocean/deep"):
        repack(path, tmp_path / "b.h5")
    assert open_dataset(tmp_path / "b.h5").attrs["left_out"] == "the groups ocean/deep"


def test_an_unknown_group_is_refused(tmp_path):
    netcdf_with_a_group(tmp_path / "a.nc")
    with pytest.raises(DataError, match="no group `sea`"):
        open_dataset(tmp_path / "a.nc", group="sea")
