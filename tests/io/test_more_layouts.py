"""Layouts of folders and of several files: pdearena's sphere and Maxwell, Geo-FNO, DINo."""

import datetime
from importlib import import_module

import h5py
import numpy as np
import pytest
import writers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fields.io import DataError, open_dataset, stored_array

QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(
    mode=st.sampled_from(["train", "valid", "test"]),
    samples=st.integers(1, 3),
    frames=st.integers(1, 3),
)
def test_maxwell(tmp_path_factory, mode, samples, frames):
    path = tmp_path_factory.mktemp("maxwell") / "a.h5"
    data = writers.maxwell(path, mode=mode, samples=samples, frames=frames)
    ds = open_dataset(path)
    assert (
        list(ds.data_vars) == [f"{f}_{a}" for f in ("d_field", "h_field") for a in "xyz"]
        and ds.attrs["layout"] == "pdearena"
    )
    np.testing.assert_array_equal(ds["h_field_y"], data["h_field"][..., 1])
    assert (
        ds["d_field_x"].dims == ("sample", "time", "x", "y", "z")
        and ds["d_field_x"].role == "state"
    )
    assert set(ds["split"].values) == {["train", "valid", "test"].index(mode)}
    ds.close()
    with h5py.File(path, "a") as file:
        del file[mode]["h_field"]
    with pytest.raises(DataError, match="no `h_field`"):
        open_dataset(path)


@QUICK
@given(
    seeds=st.integers(1, 2),
    runs=st.integers(1, 2),
    level=st.booleans(),
    split=st.sampled_from(["", "valid"]),
)
def test_shallow_water_of_pdearena(tmp_path_factory, seeds, runs, level, split):
    path = tmp_path_factory.mktemp("sphere")
    data = writers.pdearena_sphere(path, split=split, seeds=seeds, runs=runs, level=level)
    ds = open_dataset(path)
    assert (ds.attrs["layout"], ds.sizes["sample"]) == ("pdearena_sphere", seeds * runs)
    for i, values in enumerate(data):
        for name, wanted in values.items():
            np.testing.assert_array_equal(ds[name][i], wanted)
    assert ds["u"].dims == ("sample", "time", "lat", "lon") and ds["pres"].role == "state"
    assert (ds["lon"].periodic, ds["lon"].bounds) == (1, (0.0, 360.0)) and ds["lat"].values[0] == 80
    assert set(ds["split"].values) == {1 if split else 0}
    assert stored_array(ds["pres"]) is not None  # lazy


@QUICK
@given(
    samples=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 5]),
    given_file=st.sampled_from("XYQ"),
)
def test_geo_fno_on_a_curvilinear_grid(tmp_path_factory, samples, channels, given_file):
    folder = tmp_path_factory.mktemp("naca")
    x, y, q = writers.geo_fno(folder, samples=samples, channels=channels)
    path = folder / f"NACA_Cylinder_{given_file}.npy"
    ds = open_dataset(path)
    assert (ds.attrs["layout"], ds.attrs["problem"], ds.attrs["bent_grid"]) == (
        "geo_fno",
        "naca_cylinder",
        "4x5",
    )
    for name, wanted in (
        ("x", x),
        ("y", y),
        ("geometry_x", x),
        ("q", q[:, 4 if channels == 5 else 0]),
    ):
        assert ds[name].dims == ("sample", "point")
        np.testing.assert_array_equal(ds[name], wanted.reshape(samples, -1))
    assert (ds["geometry_y"].role, ds["q"].role) == ("input", "output")
    np.testing.assert_array_equal(open_dataset(path, channel=0)["q"], q[:, 0].reshape(samples, -1))
    with pytest.raises(DataError, match=f"the channels 0 to {channels - 1}, not 7"):
        open_dataset(path, channel=7)


@QUICK
@given(samples=st.integers(1, 4), points=st.integers(4, 9), word=st.sampled_from(["XY", "sigma"]))
def test_geo_fno_at_scattered_points(tmp_path_factory, samples, points, word):
    folder = tmp_path_factory.mktemp("elasticity")
    xy, sigma = writers.geo_fno_scattered(folder, samples=samples, points=points)
    ds = open_dataset(folder / f"Random_UnitCell_{word}_10.npy")
    np.testing.assert_array_equal(ds["sigma"], sigma.T)
    np.testing.assert_array_equal(ds["y"], xy[:, 1].T)
    np.testing.assert_array_equal(ds["geometry_x"], xy[:, 0].T)
    assert ds.attrs["problem"] == "random_unitcell"


def test_geo_fno_files_must_be_together_and_fit(tmp_path):
    writers.geo_fno(tmp_path)
    np.save(tmp_path / "NACA_Cylinder_Y.npy", np.zeros((3, 4, 6)))
    with pytest.raises(DataError, match="do not match"):
        open_dataset(tmp_path / "NACA_Cylinder_Q.npy")
    (tmp_path / "NACA_Cylinder_Y.npy").unlink()
    with pytest.raises(DataError, match=r"NACA_Cylinder_Y\.npy is missing"):
        open_dataset(tmp_path / "NACA_Cylinder_Q.npy")


@QUICK
@given(trajectories=st.integers(1, 3), sim_time=st.booleans(), test=st.booleans())
def test_dino_on_the_sphere(tmp_path_factory, trajectories, sim_time, test):
    path = tmp_path_factory.mktemp("dino") / f"shallow_water_{'test' if test else 'train'}"
    data = writers.dino_sphere(path, trajectories=trajectories, sim_time=sim_time)
    ds = open_dataset(path)
    assert (ds.attrs["layout"], ds.sizes["sample"]) == ("dino", trajectories)
    for i, values in enumerate(data):
        np.testing.assert_array_equal(ds["height"][i], values["height"])
        np.testing.assert_array_equal(ds["vorticity"][i], values["vorticity"])
    assert (
        ds["phi"].periodic == 1
        and ds["phi"].bounds == pytest.approx((0, 2 * np.pi))
        and ds["theta"].values[0] == 3
    )
    np.testing.assert_array_equal(ds["time"], np.arange(3) * (0.5 if sim_time else 1))
    assert set(ds["split"].values) == {2 if test else 0}
    one = open_dataset(path / "traj_0000.h5")
    np.testing.assert_array_equal(one["height"], data[0]["height"][None])
    ds.close()
    one.close()
    with h5py.File(path / "traj_0000.h5", "a") as file:
        file["tasks/height"].dims[1].detach_scale(file["scales/phi"])
    with pytest.raises(DataError, match="no coordinates attached"):
        open_dataset(path)


@pytest.mark.parametrize("kind", ["dumb", "gnu", "ndbm"])
@pytest.mark.parametrize("channels", [1, 2])
def test_dino_shelves(tmp_path, kind, channels):
    try:
        import_module(f"dbm.{kind}")
    except ImportError:
        pytest.skip(f"this Python has no dbm.{kind}")
    data = writers.dino_shelf(tmp_path / "ns_train", kind=kind, channels=channels)
    path = next(file for file in sorted(tmp_path.iterdir()) if file.suffix != ".dir")
    ds = open_dataset(path)
    assert (ds.attrs["layout"], dict(ds.sizes)) == (
        "dino_shelf",
        {"sample": 3, "time": 4, "x": 6, "y": 5},
    )
    for i, values in enumerate(data):
        np.testing.assert_array_equal(ds["u" if channels == 1 else "u_1"][i], values[channels - 1])
    assert ds["x"].periodic == 1 and ds["x"].bounds == (0.0, 1.0)


def test_a_shelf_that_holds_more_than_arrays_is_not_unpickled(tmp_path):
    writers.dino_shelf(tmp_path / "wave", extra=datetime.date(2020, 1, 1))
    with pytest.raises(DataError, match=r"an object of type `datetime\.date`"):
        open_dataset(tmp_path / "wave.dat")
