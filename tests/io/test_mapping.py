"""Mappings are read as they are written, checked against the file, and proposed."""

import h5py
import numpy as np
import pytest
import scipy.io

from fields.io import DataError, open_dataset
from fields.io.tools.proposal import propose_mapping

U = np.random.default_rng(0).normal(size=(5, 4, 16)).astype("f4")  # (time, sample, x)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name in ("u", "NO", "on", "1e3", "2020-01-01"):
            file[name] = U
        file["t"] = np.arange(5) / 10
        file["x"] = np.linspace(0, 3, 16)
        file["long"] = np.arange(21.0)
        file["grid"] = np.zeros((4, 16))
        file["nu"] = np.arange(7.0)
        file["psi"] = U.astype("c8") * 1j
        file.attrs["name"] = "abc"
    return tmp_path / "m.h5"


def opened(path, text):
    (path.parent / "mapping.yaml").write_text(text)
    return open_dataset(path, mapping=path.parent / "mapping.yaml")


@pytest.mark.parametrize("name", ["NO", "on", "1e3", "2020-01-01"])
def test_names_are_those_that_are_written(path, name):
    ds = opened(path, f"dims: [time, sample, x]\nfields: {{{name}: {name}}}")
    assert list(ds.data_vars) == [name]
    np.testing.assert_array_equal(ds[name], U.transpose(1, 0, 2))


def test_units_are_those_that_are_written(path):
    ds = opened(path, "dims: [time, sample, x]\nfields: {u: {path: /u, units: 1.0}}")
    assert ds["u"].attrs["units"] == "1.0"


def test_an_index_counts_from_the_end(path):
    ds = opened(path, "dims: [-1, sample, x]\nfields: {u: /u}")
    np.testing.assert_array_equal(ds["u"], U[-1])


U_OK = "dims: [time, sample, x]\nfields: {u: /u}\n"
WRONG = {
    "fields: {u: {path: /u, dims: [9, sample, x]}}": "no index 9 along its axis 0 of length 5",
    "fields: {u: {path: /u, dims: [x, sample, x]}}": "has an axis twice",
    "dims: time sample x\nfields: {u: /u}": "must be a list of names",
    "dims: [time, sample, x]\nfields: [u]": "must be a table of names and paths",
    "dims: [time, sample, x]\nfields: {u: {path: /u, scale: 2}}": "the unknown key `scale`",
    "dims: [time, sample, x]\nfields: {u: {path: /u, rolle: input}}": "Did you mean `role`",
    "dims: [time, sample, x]\nfields: {u: /u, u: /NO}": "has the key `u` twice",
    f"{U_OK}coords: {{x: /long}}": "`x` has 21 entries, but the fields have 16",
    f"{U_OK}coords: {{x: /grid}}": r"has the shape \(4, 16\), but a coordinate needs one axis",
    f"{U_OK}coords: {{z: /x}}": "the unknown axis `z`",
    f"{U_OK}periodic: [z]": "the unknown axis `z`",
    f"{U_OK}parameters: {{nu: /nu}}": "has 7 values for 4 samples",
    f"{U_OK}parameters: {{nu: '@name'}}": "is not a number",
    f"{U_OK}peridoic: [x]": "Did you mean `periodic`",
    "": "must be a YAML table",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_does_not_fit_is_refused(path, text):
    with pytest.raises(DataError, match=WRONG[text]):
        opened(path, text)


def test_one_group_per_sample(tmp_path):
    with h5py.File(tmp_path / "runs.h5", "w") as file:
        for i in range(12):  # run10 comes after run9
            file[f"run{i}/u"] = U[:, 0] + i
            file[f"run{i}/nu"] = 0.1 * i
            file[f"run{i}/t"] = np.arange(5) / 10
    mapping = propose_mapping(tmp_path / "runs.h5")
    assert mapping["fields"] == {"u": "/run*/u"} and mapping["parameters"] == {"nu": "/run*/nu"}
    with open_dataset(tmp_path / "runs.h5", mapping=mapping) as ds:
        assert ds["u"].dims == ("sample", "time", "x")
        np.testing.assert_array_equal(ds["u"], [U[:, 0] + i for i in range(12)])
        np.testing.assert_allclose(ds["nu"], 0.1 * np.arange(12))


def test_groups_of_different_lengths_are_padded(tmp_path):
    with h5py.File(tmp_path / "runs.h5", "w") as file:
        for i in (1, 2):
            file[f"run{i}/u"] = U[: 2 + i, 0]
    mapping = {"dims": ["time", "x"], "fields": {"u": "/run*/u"}}
    with open_dataset(tmp_path / "runs.h5", mapping=mapping) as ds:
        assert ds["u"].shape == (2, 4, 16) and np.isnan(ds["u"].values[0, 3]).all()


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((5, 4, 16), ["time", "sample", "x"]),
        ((4, 5, 16), ["sample", "time", "x"]),
        ((7, 8, 16), ["sample", "x", "y"]),
        ((5, 16), ["time", "x"]),
    ],
)
def test_the_proposed_axes_are_those_of_the_vectors(tmp_path, shape, dims):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.zeros(shape)
        file["t"] = np.arange(5.0)
        file["x"] = np.arange(16.0)
    mapping = propose_mapping(tmp_path / "a.h5")
    assert mapping["dims"] == dims
    ds = open_dataset(tmp_path / "a.h5", mapping=mapping)
    assert ("time" in ds.coords) == ("time" in dims)


def test_a_mapping_is_proposed_for_archives(tmp_path):
    arrays = {"field": np.zeros((3, 16)), "x": np.arange(16.0)}
    np.savez(tmp_path / "a.npz", **arrays)
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    assert propose_mapping(tmp_path / "a.npz")["coords"] == {"x": "x"}
    for name in ("a.npz", "a.mat"):
        mapping = propose_mapping(tmp_path / name)
        assert mapping["dims"] == ["sample", "x"] and mapping["fields"] == {"field": "field"}
        assert dict(open_dataset(tmp_path / name, mapping=mapping).sizes) == {"sample": 3, "x": 16}
