"""What holds for every layout: plain xarray opens it by its engine, lazily, and our own layout holds it whole."""

import pickle
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from layouts import EXAMPLES

from fields.io import READERS, DataError, open_dataset
from fields.io.tools.describe import describe
from fields.io.tools.repack import repack
from fields.io.tools.validate import validate

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
ENGINES = PROJECT["project"]["entry-points"]["xarray.backends"]


def engine(name):
    """The class behind a declared entry point: works in a checkout that is not installed as well."""
    module, cls = ENGINES[name].split(":")
    return getattr(import_module(module), cls)


def test_there_is_an_example_of_every_layout_and_engine():
    assert {example.layout for example in EXAMPLES.values()} == {
        reader.layout for reader in READERS
    } | {"mapping"}
    assert {example.engine for example in EXAMPLES.values()} == set(ENGINES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_xarray_opens_it_by_its_engine(tmp_path, name):
    example = EXAMPLES[name]
    path = example.write(tmp_path)
    with (
        open_dataset(path, **example.options) as wanted,
        xr.open_dataset(path, engine=engine(example.engine), **example.options) as ds,
    ):
        assert ds.attrs["layout"] == example.layout
        fields = [variable for variable in ds.data_vars.values() if variable.ndim > 1]
        assert fields and not any(
            variable.variable._in_memory for variable in fields
        )  # nothing was read
        xr.testing.assert_identical(ds, wanted)
        part = pickle.loads(pickle.dumps(fields[0])).isel(sample=0)
        np.testing.assert_array_equal(part, fields[0][0])
    other = "apebench" if example.engine != "apebench" else "dino"
    with pytest.raises(DataError, match=f"has layout {example.layout}, not {other}"):
        xr.open_dataset(path, engine=engine(other), **example.options)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_described_validated_and_repacked(tmp_path, name):
    example = EXAMPLES[name]
    (tmp_path / "in").mkdir()
    path = example.write(tmp_path / "in")
    about = describe(path, example.options.get("mapping"))
    assert about["layout"] == example.layout and about["variables"] and about["bytes"] > 0
    assert not [
        f for f in validate(path, example.options.get("mapping")) if "cannot be" in f.message
    ]
    repack(path, tmp_path / "out.nc", mapping=example.options.get("mapping"))
    with open_dataset(path, **example.options) as ds, open_dataset(tmp_path / "out.nc") as back:
        assert set(ds.variables) == set(back.variables) and back.attrs == ds.attrs | {
            "layout": "bracketfields"
        }
        for variable in ds.variables:
            xr.testing.assert_equal(back[variable], ds[variable])
            assert back[variable].dtype == ds[variable].dtype
