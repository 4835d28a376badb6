"""Damaged files of every layout raise a DataError or give the right values, never wrong ones.

Bytes are cut off, deleted, zeroed and flipped, and parts of files that have parts are removed. A
changed byte can be noticed only where the format has a checksum: for files with ``Example.checked``
every change must be noticed or harmless. Without a checksum, a flipped byte may give other numbers,
which no reader can distinguish from the true ones, but nothing other than numbers. The older HDF5
format and MATLAB 5 without compression have no checksums in their indexes, and the HDF5 library and
scipy crash on wrong ones: such files are shortened, but nothing in them is flipped.
"""

import contextlib
import hashlib
import shutil
import signal
import warnings

import h5py
import numpy as np
import pytest
from layouts import all_examples

from fields.io import DataError, open_dataset
from fields.io.signatures import is_matlab5

EXAMPLES = all_examples()

# The index of a shelf and the scenario of APEBench.
TEXT_SUFFIXES = (".dir", ".json")

# Shorter than any chunk with its checksum: the Fletcher checksum of zeros is zero.
ZEROED = 16

PATIENCE = 30  # seconds to read one file of some kilobytes


class Hang(BaseException):
    """Reading took too long; not an `Exception`, since those are turned into a DataError."""


@contextlib.contextmanager
def patience():
    def give_up(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(path, options):
    """All values with their axes; the file is closed again."""
    with patience(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_dataset(path, **options) as ds:
            return {str(name): (v.dims, v.values) for name, v in ds.variables.items()}


def opened_correctly(path, truth, what, *, exact=True, options):
    """Whether the file was read; asserts that all values that were read are the true ones."""
    try:
        found = read(path, options)
    except DataError as error:
        assert len(str(error)) > 20 and "\n" not in str(error).strip()[:60], f"{what}: {error}"
        return False
    if exact:
        assert found.keys() >= truth.keys(), f"{what}: {truth.keys() - found.keys()} was left out"
    for name in truth if exact else ():
        same = found[name][0] == truth[name][0] and np.array_equal(
            found[name][1], truth[name][1], equal_nan=True
        )
        assert same, f"{what}: a wrong `{name}` was read"
    return True


def damaged(raw, kind, rng):
    """The bytes after one random change, and a description of it."""
    place = int(rng.integers(len(raw)))
    out = bytearray(raw)
    if kind == "cut":
        del out[place:]
    elif kind == "deleted":
        del out[place : place + int(rng.integers(1, 65))]
    elif kind == "zeroed":
        out[place : place + ZEROED] = bytes(len(out[place : place + ZEROED]))
    else:
        out[place] ^= 1 << int(rng.integers(8))
    return out, f"{kind} at byte {place} of {len(raw)}"


def text_heap(content, whole):
    """The heap of text attributes in an HDF5 file, which has no checksum in any version.

    HDF5 2.0.0 never returns from reading a heap with zeroed entries, so none are made.
    """
    start = whole.find(b"GCOL")
    return b"" if start < 0 else bytes(content[start : start + 4096])


def check_damaged_copies(tmp_path, name, cases):
    example = EXAMPLES[name]
    (tmp_path / "whole").mkdir()
    path = example.write(tmp_path / "whole")
    truth = read(path, example.options)
    place = path.relative_to(tmp_path / "whole")
    files = sorted(
        file.relative_to(tmp_path / "whole")
        for file in (tmp_path / "whole").rglob("*")
        if file.is_file()
    )
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    refused = 0
    for case in range(cases):
        victim = files[int(rng.integers(len(files)))]
        raw = (tmp_path / "whole" / victim).read_bytes()
        whole = tmp_path / "whole" / victim
        fragile = not example.checked and (h5py.is_hdf5(whole) or is_matlab5(whole))
        kind = ("cut", "deleted", "zeroed", "flipped")[case % (2 if fragile else 4)]
        bad, what = damaged(raw, kind, rng)
        if kind == "zeroed" and text_heap(bad, raw) != text_heap(raw, raw):
            continue
        folder = tmp_path / str(case)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / victim).write_bytes(bad)
        # A shortened text file may be valid: the index of fewer trajectories, a shorter number.
        shortened = kind in ("cut", "deleted") and victim.suffix not in TEXT_SUFFIXES
        exact = example.checked or shortened
        refused += not opened_correctly(
            folder / place, truth, f"{name}: {victim} {what}", exact=exact, options=example.options
        )
        shutil.rmtree(folder)
    assert refused, "no copy was damaged"


@pytest.mark.parametrize("name", EXAMPLES)
def test_bytes(tmp_path, name):
    check_damaged_copies(tmp_path, name, 24 if EXAMPLES[name].checked else 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_many_bytes(tmp_path, name):
    check_damaged_copies(tmp_path, name, 400)


def parts(file):
    """Names of all groups, arrays and attributes."""
    names = [(name, None) for name in file.attrs]
    file.visititems(
        lambda name, item: names.extend([(None, name), *((key, name) for key in item.attrs)])
    )
    return names


def hdf5_files(folder):
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and h5py.is_hdf5(file)]


# Without these attributes packed numbers are other numbers, to any reader.
PACKING = ("scale_factor", "add_offset", "_FillValue")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("most", [10, pytest.param(10_000, marks=pytest.mark.slow)])
def test_missing_parts(tmp_path, name, most):
    """Remove groups, arrays and attributes of HDF5 files, and files of layouts with several."""
    example = EXAMPLES[name]
    (tmp_path / "whole").mkdir()
    path = example.write(tmp_path / "whole")
    truth = read(path, example.options)
    place = path.relative_to(tmp_path / "whole")
    files = [
        file.relative_to(tmp_path / "whole")
        for file in sorted((tmp_path / "whole").rglob("*"))
        if file.is_file()
    ]
    missing = [(file, None, None) for file in files]
    for file in hdf5_files(tmp_path / "whole")[:1]:
        with h5py.File(file) as opened:
            found = [part for part in parts(opened) if part[0] not in PACKING]
            missing += [(file.relative_to(tmp_path / "whole"), *part) for part in found]
    chosen = np.random.default_rng(1).permutation(len(missing))[:most]
    for case in chosen:
        victim, attribute, owner = missing[case]
        folder = tmp_path / str(case)
        shutil.copytree(tmp_path / "whole", folder)
        if attribute is owner is None:
            (folder / victim).unlink()
        else:
            with h5py.File(folder / victim, "a") as file:
                if attribute is None:
                    del file[owner]
                else:
                    del (file if owner is None else file[owner]).attrs[attribute]
        try:
            found = read(folder / place, example.options)
        except DataError as error:
            assert len(str(error)) > 20
        else:  # fields that are read without the part must be those that are read with it
            for variable, (dims, values) in found.items():
                if (
                    values.ndim > 1
                    and variable in truth
                    and dims == truth[variable][0]
                    and values.shape == truth[variable][1].shape
                ):
                    np.testing.assert_array_equal(
                        values,
                        truth[variable][1],
                        f"{variable} without {victim} {owner} {attribute}",
                    )
        shutil.rmtree(folder)
