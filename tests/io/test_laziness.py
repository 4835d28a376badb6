"""Opening a file reads no field: a file that is overwritten after opening yields other values.

The test knows nothing of how a reader works. After opening, all bytes of the file are overwritten
with zeros in place. A field that was read before still has its true values; a lazy one is zero or
raises a DataError. Readers that are eager on purpose show that the test notices them.
"""

import numpy as np
import pytest
import xarray as xr
from layouts import all_examples

from fields.io import DataError, all_readers, open_dataset, stored_array
from fields.io.base import Reader
from fields.io.lazy import LazyArray, lazy_variable

EXAMPLES = all_examples()
PARTIAL = [name for name, example in EXAMPLES.items() if not example.whole_arrays]


def overwrite(path):
    """Zero every byte of the files in the folder, without replacing the files."""
    folder = path if path.is_dir() else path.parent
    for file in (file for file in folder.rglob("*") if file.is_file()):
        with open(file, "r+b") as opened:
            opened.write(bytes(file.stat().st_size))


def fields_of(ds):
    return {str(name): variable for name, variable in ds.data_vars.items() if variable.ndim > 1}


def assert_no_field_was_read(open_it, path):
    """Open, overwrite, read; no field may still have the values that the file had."""
    with open_it(path) as ds:
        # Copies, because values of a memory-mapped file are views of it.
        expected = {name: field.values.copy() for name, field in fields_of(ds).items()}
    with open_it(path) as ds:
        overwrite(path)
        for name, field in fields_of(ds).items():
            try:
                found = field.values
            except DataError:
                continue
            assert not np.array_equal(found, expected[name], equal_nan=True), (
                f"`{name}` was read while the file was opened. Return it as "
                "lazy_variable(dims, StoredArray(handle, name), attrs)."
            )


@pytest.mark.parametrize("name", PARTIAL)
def test_opening_reads_no_field(tmp_path, name):
    example = EXAMPLES[name]
    path = example.write(tmp_path)
    assert_no_field_was_read(lambda path: open_dataset(path, **example.options), path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_field_is_a_lazy_array(tmp_path, name):
    """Also of formats that are loaded as whole arrays: windows are read from a LazyArray."""
    example = EXAMPLES[name]
    with open_dataset(example.write(tmp_path), **example.options) as ds:
        found = {name: stored_array(field, packed=True) for name, field in fields_of(ds).items()}
    assert found and all(isinstance(array, LazyArray) for array in found.values())


class InMemory(LazyArray):
    """An array that pretends to be lazy: its values were read before."""

    def __init__(self, values):
        self.values = values
        self.shape = values.shape
        self.dtype = values.dtype

    def read(self, key):
        return self.values[key]


class Eager(Reader):
    """Loads all fields; xarray keeps them as numpy arrays."""

    layout = "eager"

    def __init__(self, path):
        self.inner = next(reader for reader in all_readers() if reader.recognizes(path))

    def recognizes(self, path):
        return True

    def open(self, path):
        with self.inner.open(path) as ds:
            return ds.copy(data={name: field.values.copy() for name, field in ds.data_vars.items()})


class SecretlyEager(Eager):
    """Loads all fields and wraps them, so that xarray believes that they are lazy."""

    layout = "secretly_eager"

    def open(self, path):
        ds = super().open(path)
        wrapped = {
            name: lazy_variable(field.dims, InMemory(field.values), field.attrs)
            for name, field in fields_of(ds).items()
        }
        return xr.Dataset(wrapped, ds.coords, ds.attrs)


@pytest.mark.parametrize("reader", [Eager, SecretlyEager])
@pytest.mark.parametrize("name", [name for name in PARTIAL if not EXAMPLES[name].options])
def test_an_eager_reader_is_noticed(tmp_path, name, reader):
    path = EXAMPLES[name].write(tmp_path)
    eager = reader(path)
    with pytest.raises(AssertionError, match="was read while the file was opened"):
        assert_no_field_was_read(eager.open, path)
