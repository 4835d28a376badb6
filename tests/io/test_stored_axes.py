"""Coordinates that MATLAB and numpy files store are used, not replaced by a periodic unit box."""

import numpy as np
import pytest
import scipy.io

from fields.io import DataError, open_dataset

X = np.linspace(-1, 3, 8)


def write(path, **arrays):
    values = np.random.default_rng(0).normal(size=(3, 8))
    arrays = {"a": values, "u": values + 1, **arrays}
    if path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.mat"])
@pytest.mark.parametrize("axis", ["x", "x_grid", "grid", "gridx"])
def test_stored_coordinates_are_used_or_refused(tmp_path, name, axis):
    path = write(tmp_path / name, **{axis: X})
    if axis == "grid":
        with pytest.raises(DataError, match=r"may hold coordinates.*coords: \{x: grid\}"):
            open_dataset(path)
        return
    ds = open_dataset(path)
    np.testing.assert_array_equal(ds["x"], X)
    assert "periodic" not in ds["x"].attrs and "problem" not in ds.attrs


def test_points_of_the_layout_stay_periodic(tmp_path):
    ds = open_dataset(write(tmp_path / "a.npz", x=np.arange(8) / 8))
    assert ds["x"].attrs["periodic"] == 1 and ds.attrs["problem"] == "burgers"


@pytest.mark.parametrize("values", [np.arange(9.0), np.zeros((8, 8))])
def test_coordinates_of_another_size_are_refused(tmp_path, values):
    with pytest.raises(DataError, match="does not fit the axes"):
        open_dataset(write(tmp_path / "a.npz", x=values))
