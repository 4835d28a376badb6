"""Damaged files: hundreds of truncations, flipped bytes and deleted parts end in a DataError or in the right values.

Bytes are flipped where the format has checksums: everywhere in our own layout; in HDF5's headers (of its 1.10 format)
and compressed chunks of others. Values stored without a checksum cannot be told from other values by any reader.
"""

import h5py
import numpy as np
import pytest
import scipy.io
import writers
import xarray as xr

from fields.io import DataError, open_dataset, write_dataset

CASES = 40


def own(path):
    x = {c: (c, np.arange(n) / n, {"periodic": 1, "bounds": (0.0, 1.0)}) for c, n in (("x", 5), ("y", 7))}
    u = writers.rng().normal(size=(3, 4, 5, 7)).astype("f4")
    ds = xr.Dataset({"u": (("sample", "time", "x", "y"), u, {"role": "state"})}, x | {"time": ("time", np.arange(4.0))})
    write_dataset(ds.assign(nu=("sample", np.arange(3.0), {"role": "parameter"})), path)


def checked(write):
    """The same file in HDF5's 1.10 format, every array compressed, so that all of it has checksums."""

    def copy(path):
        write(path.with_suffix(".old"))
        with h5py.File(path.with_suffix(".old")) as old, h5py.File(path, "w", libver=("v110", "v110")) as new:
            new.attrs.update(old.attrs)

            def visit(name, item):
                if isinstance(item, h5py.Group):
                    made = new.require_group(name)
                else:
                    made = new.create_dataset(name, data=item[()], **({"compression": "gzip"} if item.shape else {}))
                made.attrs.update(item.attrs)

            old.visititems(visit)
        path.with_suffix(".old").unlink()

    return copy


def mat5(path):
    with open(path, "wb") as file:
        data = {"a": writers.rng().random((4, 9)), "u": writers.rng().random((4, 9))}
        scipy.io.savemat(file, data, do_compression=True)


def npz(path):
    with open(path, "wb") as file:
        np.savez_compressed(file, x=np.arange(8.0), t=np.arange(5.0), u=writers.rng().random((8, 5)))


FLIPPED = {
    "own": own,
    "the_well": checked(writers.the_well),
    "pdebench": checked(writers.pdebench_flat),
    "pdebench_groups": checked(writers.pdebench_groups),
    "pdearena": checked(writers.pdearena),
    "mat5": mat5,
    "npz": npz,
}


def read(path):
    """Every value with its axes; the file is closed again."""
    ds = open_dataset(path)
    try:
        return {name: (v.dims, v.values) for name, v in ds.variables.items()}
    finally:
        ds.close()


def assert_clear(path, truth, what):
    try:
        found = read(path)
    except DataError as error:
        assert str(error).strip(), what
        return False
    for name in found.keys() & truth.keys():
        same = found[name][0] == truth[name][0] and np.array_equal(found[name][1], truth[name][1], equal_nan=True)
        assert same, f"{what}: a wrong `{name}` was read"
    return True


@pytest.mark.parametrize("layout", FLIPPED)
def test_truncations_and_flipped_bytes(tmp_path, layout):
    whole = tmp_path / "whole"
    FLIPPED[layout](whole)
    raw, truth, rng, read_well = whole.read_bytes(), read(whole), np.random.default_rng(1), 0
    for case in range(CASES):
        damaged, place = bytearray(raw), int(rng.integers(len(raw)))
        if case % 4 == 0:
            damaged = damaged[:place]
        elif case % 4 == 1:
            damaged[place : place + 64] = bytes(len(damaged[place : place + 64]))
        else:
            damaged[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{case}"
        path.write_bytes(damaged)
        read_well += assert_clear(path, truth, f"case {case} at byte {place} of {len(raw)}")
    assert read_well < CASES  # else nothing was damaged


def parts(file):
    """Every group, array and attribute."""
    names = [(name, None) for name in file.attrs]
    file.visititems(lambda name, item: names.extend([(None, name), *((key, name) for key in item.attrs)]))
    return names


@pytest.mark.parametrize(
    "write",
    [
        own,
        writers.the_well,
        writers.pdebench_flat,
        writers.pdebench_groups,
        writers.pdearena,
        writers.pdebench_incompressible,
    ],
)
def test_deleted_parts(tmp_path, write):
    whole = tmp_path / "whole"
    write(whole)
    truth = read(whole)
    with h5py.File(whole) as file:
        found = parts(file)
    for case, (attribute, name) in enumerate(found):
        path = tmp_path / f"{case}"
        path.write_bytes(whole.read_bytes())
        with h5py.File(path, "a") as file:
            owner = file if name is None else file[name]
            if attribute is None:
                del file[name]
            else:
                del owner.attrs[attribute]
        try:
            read(path)
        except DataError as error:
            assert str(error).strip()
        else:
            optional(path, truth, attribute, name)


def optional(path, truth, attribute, name):
    """What is read without a part must be what is read with it."""
    for variable, (dims, values) in read(path).items():
        if variable in truth and dims == truth[variable][0] and values.shape == truth[variable][1].shape:
            np.testing.assert_array_equal(values, truth[variable][1], f"{variable} without {name} {attribute}")
