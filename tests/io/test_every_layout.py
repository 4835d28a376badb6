"""What holds for every layout; readers and their examples are found by walking."""

import ast
import inspect
import pickle
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import layouts
import numpy as np
import pytest
import xarray as xr

from fields.io import DataError, all_readers, open_dataset
from fields.io.tools.describe import describe
from fields.io.tools.repack import repack
from fields.io.tools.validate import validate

EXAMPLES = layouts.all_examples()
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
ENGINES = PROJECT["project"]["entry-points"]["xarray.backends"]
READERS = {reader.layout: reader for reader in all_readers()}


def engine(name):
    """The class of a declared entry point, also in a checkout that is not installed."""
    module, cls = ENGINES[name].split(":")
    return getattr(import_module(module), cls)


def engine_of(example):
    """The engine of the example's reader; of mappings the one that opens everything."""
    return "bracketfields" if example.layout == "mapping" else READERS[example.layout].engine


@pytest.mark.parametrize("layout", READERS)
def test_every_reader_has_an_example(layout):
    module = type(READERS[layout]).__module__.rsplit(".", 1)[-1]
    assert layout in {example.layout for example in EXAMPLES.values()}, (
        f"No test writes a file of the layout {layout!r}. Add tests/io/layouts/{module}.py with a "
        f"function that writes a small valid file into a folder, and EXAMPLES = {{{layout!r}: "
        f"Example(that_function, {layout!r})}}; docs/extending.md shows one."
    )


def test_every_example_belongs_to_a_reader():
    assert {example.layout for example in EXAMPLES.values()} - set(READERS) == {"mapping"}


def test_layouts_have_unique_names():
    assert len(READERS) == len(all_readers())


def test_every_reader_of_the_package_is_found():
    """Compared with the classes in the source files, which are read without importing them."""
    package = Path(sys.modules["fields.io.readers"].__file__).parent
    written = {
        node.name
        for path in package.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Reader" for base in node.bases)
    }
    assert len(written) > 10 and {type(reader).__name__ for reader in all_readers()} == written


@pytest.mark.parametrize("layout", READERS)
def test_every_engine_of_a_reader_is_an_entry_point(layout):
    name = READERS[layout].engine
    assert name in ENGINES, (
        f"The reader of {layout!r} names the engine {name!r}, which is not an entry point of "
        "xarray.backends in pyproject.toml. Omit `engine` or declare the entry point."
    )
    assert engine(name).engine == name


@pytest.mark.parametrize("name", [n for n, e in EXAMPLES.items() if e.layout != "mapping"])
def test_the_most_specific_reader_is_the_only_one(tmp_path, name):
    """Readers of one specificity never recognize the same file, so their order does not matter."""
    example = EXAMPLES[name]
    path = example.write(tmp_path)
    specificity = READERS[example.layout].specificity
    rivals = [reader for reader in all_readers() if reader.specificity >= specificity]
    assert [r.layout for r in rivals if r.recognizes(path)] == [example.layout], (
        "Several readers of the same or a higher `specificity` recognize this file. Make one of "
        "them more exact, or give the general one a lower specificity."
    )


@pytest.mark.parametrize("layout", READERS)
def test_every_option_of_a_reader_is_known_to_the_engines(layout):
    options = [
        name for name in inspect.signature(READERS[layout].open).parameters if name != "path"
    ]
    assert set(options) <= set(engine("bracketfields").open_dataset_parameters)


@pytest.mark.parametrize("name", EXAMPLES)
def test_xarray_opens_it_with_its_engine(tmp_path, name):
    example = EXAMPLES[name]
    path = example.write(tmp_path)
    with (
        open_dataset(path, **example.options) as expected,
        xr.open_dataset(path, engine=engine(engine_of(example)), **example.options) as ds,
    ):
        assert ds.attrs["layout"] == example.layout
        xr.testing.assert_identical(ds, expected)
        field = next(variable for variable in ds.data_vars.values() if variable.ndim > 1)
        part = pickle.loads(pickle.dumps(field)).isel(sample=0)
        np.testing.assert_array_equal(part, field[0])
    other = "apebench" if engine_of(example) != "apebench" else "dino"
    with pytest.raises(DataError, match=f"has the layout {example.layout}, which the engine"):
        xr.open_dataset(path, engine=engine(other), **example.options)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_described_validated_and_repacked(tmp_path, name):
    example = EXAMPLES[name]
    mapping = example.options.get("mapping")
    (tmp_path / "in").mkdir()
    path = example.write(tmp_path / "in")
    content = describe(path, mapping)
    assert content["layout"] == example.layout and content["variables"] and content["bytes"] > 0
    assert not [f for f in validate(path, mapping) if "cannot be" in f.message]
    repack(path, tmp_path / "out.nc", mapping=mapping)
    with open_dataset(path, **example.options) as ds, open_dataset(tmp_path / "out.nc") as back:
        assert set(ds.variables) == set(back.variables)
        assert back.attrs == ds.attrs | {"layout": "bracketfields"}
        for variable in ds.variables:
            xr.testing.assert_equal(back[variable], ds[variable])
            assert back[variable].dtype == ds[variable].dtype
