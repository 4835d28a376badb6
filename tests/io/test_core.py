"""The native layout, PDEBench and neuraloperator files: laziness, pickling, forks, round trips."""

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from fields.data import schema_of
from fields.io import DataError, open_dataset, stored_array, write_dataset
from fields.io.tools.repack import repack

SHARED = Path(__file__).parents[3] / "shared" / "data"


def evolution(samples=3, frames=4, points=6):
    u = np.random.default_rng(0).normal(size=(samples, frames, points)).astype("f4")
    x = ("x", np.arange(points) / points, {"periodic": 1, "bounds": (0.0, 1.0), "units": "m"})
    return xr.Dataset(
        {
            "u": (("sample", "time", "x"), u, {"role": "state", "units": "m s-1"}),
            "mask": (("sample", "x"), u[:, 0] > 0, {"role": "input"}),
            "nu": ((), 0.01, {"role": "parameter"}),
        },
        {
            "x": x,
            "time": ("time", np.linspace(0, 1, frames)),
            "split": ("sample", np.int8([0, 0, 2])),
        },
        {"problem": "test", "symmetries": json.dumps([{"shift": ["x"]}])},
    )


def test_the_native_layout_returns_what_was_written(tmp_path):
    ds = evolution()
    write_dataset(ds, tmp_path / "a.nc")
    back = open_dataset(tmp_path / "a.nc")
    xr.testing.assert_identical(back.load().drop_attrs(), ds.drop_attrs())
    assert back.attrs == ds.attrs | {"layout": "bracketfields"}
    assert all(back[name].attrs == ds[name].attrs for name in ds.variables)
    with h5py.File(tmp_path / "a.nc") as file:
        assert file["u"].chunks == (1, 1, 6) and file["u"].fletcher32
    raw = (tmp_path / "a.nc").read_bytes()
    # The chunk index of HDF5 1.10, which has checksums, instead of the older one.
    assert b"FADB" in raw and b"TREE" not in raw


def test_coordinates_and_variables_keep_their_order(tmp_path):
    """A scattered point is (x, y, t), not in alphabetical order; also with many attributes."""
    names = ("v", "a_seen", "u")
    dims = ("sample", "point")
    data = {
        n: (dims, np.random.rand(2, 5), {"role": "output" if n == "u" else "input"}) for n in names
    }
    ds = xr.Dataset(
        data, {n: (dims, np.random.rand(2, 5)) for n in "xyt"}, {f"note{i}": i for i in range(40)}
    )
    write_dataset(ds, tmp_path / "a.h5")
    repack(tmp_path / "a.h5", tmp_path / "b.h5")
    for back in (open_dataset(tmp_path / "a.h5"), open_dataset(tmp_path / "b.h5")):
        assert [*back.data_vars] == [*names] and [*back.coords] == ["x", "y", "t"]
        schema = schema_of(back)
        assert schema.coords == ("x", "y", "t") and schema.inputs == names[:2]


def test_nothing_is_left_of_a_failed_write(tmp_path):
    write_dataset(evolution(), tmp_path / "a.nc")
    before = (tmp_path / "a.nc").read_bytes()
    bad = evolution().assign(o=("sample", np.array([object()] * 3), {"role": "input"}))
    with pytest.raises((TypeError, ValueError)):
        write_dataset(bad, tmp_path / "a.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"] and (
        tmp_path / "a.nc"
    ).read_bytes() == before


def test_only_the_requested_window_is_read(tmp_path, monkeypatch):
    write_dataset(evolution(), tmp_path / "a.nc")
    ds = open_dataset(tmp_path / "a.nc")
    keys = []
    read = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda self, key, **kw: keys.append(key) or read(self, key, **kw),
    )
    ds["u"].isel(sample=1, time=slice(1, 3)).values  # noqa: B018
    assert keys == [(1, slice(1, 3, 1), slice(0, 6, 1))]


@pytest.mark.parametrize(
    "index",
    [
        {"sample": [2, 0, 0]},
        {"x": slice(None, None, -2)},
        {"sample": -1, "x": [3, 1]},
        {"time": slice(1, 9), "sample": [1]},
    ],
)
def test_every_kind_of_index_agrees_with_numpy(tmp_path, index):
    ds = evolution()
    write_dataset(ds, tmp_path / "a.nc")
    np.testing.assert_array_equal(
        open_dataset(tmp_path / "a.nc")["u"].isel(index), ds["u"].isel(index)
    )


def frame(ds, i):
    return ds["u"].isel(sample=i).values


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_each_worker_opens_the_file_for_itself(tmp_path, start):
    write_dataset(evolution(), tmp_path / "a.nc")
    ds = open_dataset(tmp_path / "a.nc")
    expected = [frame(ds, i) for i in range(3)]
    with ProcessPoolExecutor(1, mp_context=get_context(start)) as pool:
        found = list(pool.map(frame, [ds] * 3, range(3)))
    np.testing.assert_array_equal(found, expected)
    assert len(pickle.dumps(ds)) < 10_000


def test_stored_array_reads_the_same_values(tmp_path):
    ds = evolution()
    write_dataset(ds, tmp_path / "a.nc")
    opened = open_dataset(tmp_path / "a.nc")
    np.testing.assert_array_equal(
        stored_array(opened["u"]).read((2, slice(1, 3), slice(0, 6))), ds["u"][2, 1:3]
    )
    assert stored_array(opened["u"].isel(time=slice(1, None))) is None


def test_packed_numbers_are_not_returned_as_stored_array(tmp_path):
    ds = xr.Dataset(
        {"u": (("time", "lat"), np.arange(12.0).reshape(3, 4))},
        {"time": np.arange(3.0), "lat": np.arange(4.0)},
    )
    ds.to_netcdf(
        tmp_path / "a.nc",
        encoding={"u": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}},
        engine="h5netcdf",
    )
    opened = open_dataset(tmp_path / "a.nc")
    assert stored_array(opened["u"]) is None
    assert stored_array(opened["u"], packed=True).read((0, 2, slice(0, 4))).tolist() == [
        16,
        18,
        20,
        22,
    ]
    np.testing.assert_array_equal(opened["u"][0], ds["u"])


@pytest.mark.parametrize("lead", [(), (1,)])
def test_pdebench_burgers(tmp_path, lead):
    x = (np.arange(8) + 0.5) / 8
    data = np.random.default_rng(0).normal(size=(*lead, 3, 5, 8)).astype("f4")
    with h5py.File(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5", "w") as file:
        file.update({"tensor": data, "x-coordinate": x, "t-coordinate": np.arange(6) * 0.1})
    ds = open_dataset(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5")
    assert (
        ds.attrs["problem"] == "burgers"
        and float(ds["Nu"]) == 0.001
        and ds["u"].dims == ("sample", "time", "x")
    )
    np.testing.assert_allclose(ds["time"], np.arange(5) * 0.1)
    assert ds["x"].attrs == {"bounds": (0.0, 1.0), "periodic": 1}
    np.testing.assert_array_equal(ds["u"], data.reshape(3, 5, 8))


def test_pdebench_darcy(tmp_path):
    nu, u = np.random.default_rng(0).random((2, 3, 4, 4), dtype="f4")
    with h5py.File(tmp_path / "darcy.bin", "w") as file:
        file.update({"nu": nu, "tensor": u[:, None], "x-coordinate": (np.arange(4) + 0.5) / 4})
        file.update({"y-coordinate": (np.arange(4) + 0.5) / 4, "t-coordinate": np.arange(1)})
        file.attrs["beta"] = 0.1
    ds = open_dataset(tmp_path / "darcy.bin")
    assert (ds["nu"].role, ds["u"].role, float(ds["beta"])) == ("input", "output", 0.1)
    np.testing.assert_array_equal(ds["u"], u)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data files")
def test_neuraloperator_darcy_keeps_its_left_edge_grid():
    ds = open_dataset(SHARED / "darcy_test_16.pt")
    assert ds.sizes == {"sample": 50, "x": 16, "y": 16} and ds["input"].dtype == bool
    np.testing.assert_array_equal(ds["x"], np.arange(16) / 16)
    raw = torch.load(SHARED / "darcy_test_16.pt", weights_only=True)
    np.testing.assert_array_equal(ds["output"], raw["y"])
    fine = open_dataset(SHARED / "darcy_test_32.pt")
    np.testing.assert_array_equal(fine["input"].sel(x=ds["x"], y=ds["y"]), ds["input"])


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data files")
def test_neuraloperator_burgers_is_one_state(tmp_path):
    ds = open_dataset(SHARED / "burgers_test_16.pt")
    assert list(ds.data_vars) == ["u", "visc"] and ds["u"].dims == ("sample", "time", "x")
    assert ds["x"].periodic == 1 and float(ds["time"][-1]) == 1.0 and float(ds["visc"]) == 0.01
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(ds))["u"].isel(sample=3), ds["u"].isel(sample=3)
    )
    write_dataset(ds, tmp_path / "b.nc")
    np.testing.assert_array_equal(open_dataset(tmp_path / "b.nc")["u"], ds["u"])


def test_an_unknown_file_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"nothing known")
    with pytest.raises(DataError, match="has an unknown layout"):
        open_dataset(tmp_path / "a.bin")
