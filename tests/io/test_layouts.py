"""Each layout opens with the values, axes, coordinates and constants that its project defines."""

import json

import h5py
import numpy as np
import pytest
import scipy.io
import writers
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fields.io import DataError, open_dataset, write_dataset

QUICK = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(
    samples=st.integers(1, 3),
    frames=st.integers(1, 4),
    sample_time=st.booleans(),
    still=st.booleans(),
)
def test_the_well(tmp_path_factory, samples, frames, sample_time, still):
    path = tmp_path_factory.mktemp("well") / "a.hdf5"
    data = writers.the_well(
        path, samples=samples, frames=frames, sample_time=sample_time, still=still
    )
    ds = open_dataset(path)
    grid = ("sample", "time", "x", "log_y")
    wanted = [
        "velocity_x",
        "velocity_log_y",
        "D_xx",
        "D_xlog_y",
        "D_log_yx",
        "D_log_ylog_y",
        "Re",
        "gamma",
    ]
    assert list(ds.data_vars) == ["density", *(["height"] if still else []), *wanted]
    np.testing.assert_array_equal(ds["density"], data["t0_fields/density"])
    np.testing.assert_array_equal(ds["velocity_log_y"], data["t1_fields/velocity"][..., 1])
    np.testing.assert_array_equal(ds["D_log_yx"], data["t2_fields/D"][..., 1, 0])
    assert ds["D_xx"].dims == grid and ds["D_xx"].role == "state"
    if still:
        assert ds["height"].dims == ("sample", "x", "log_y") and ds["height"].role == "input"
        np.testing.assert_array_equal(
            ds["height"].isel(sample=-1, log_y=2), data["t0_fields/height"]
        )
        np.testing.assert_array_equal(
            ds["height"][:, 1:3, ::2], np.tile(data["t0_fields/height"][1:3, None], (samples, 1, 3))
        )
    assert (ds["x"].periodic, ds["log_y"].periodic, ds["log_y"].boundary) == (1, 0, "wall wall")
    np.testing.assert_allclose(ds["x"].bounds, (0, 1), atol=1e-6)
    assert ("sample_time" in ds) == (sample_time and samples > 1)
    assert (
        ds["Re"].dims == ("sample",) and float(ds["gamma"]) == 1.4 and ds["pump"].dims == ("time",)
    )


def test_a_folder_of_the_well_opens_as_one(tmp_path):
    data = []
    for i, (folder, frames) in enumerate((("train", 3), ("train", 5), ("test", 3))):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        data.append(
            writers.the_well(tmp_path / "data" / folder / f"{i}.hdf5", frames=frames, trajectory=i)
        )
    ds = open_dataset(tmp_path)
    assert ds["split"].values.tolist() == [0, 0, 0, 0, 2, 2] and ds.sizes["time"] == 5
    for i, rows in enumerate((slice(0, 2), slice(2, 4), slice(4, 6))):
        stored = data[i]["t0_fields/density"]
        np.testing.assert_array_equal(ds["density"][rows, : stored.shape[1]], stored)
        assert (
            np.isnan(ds["density"][rows, stored.shape[1] :]).all()
            and np.isnan(ds["sample_time"][0, 3:]).all()
        )
    np.testing.assert_array_equal(ds["density"][1:6:2, 1], ds["density"].load()[1:6:2, 1])


@QUICK
@given(
    kind=st.sampled_from(["advection", "burgers", "reaction", "cfd1", "cfd2", "cfd3", "darcy"]),
    extra_time=st.booleans(),
    lead=st.sampled_from([(), (1,)]),
    attrs=st.booleans(),
)
def test_pdebench_flat(tmp_path_factory, kind, extra_time, lead, attrs):
    path = tmp_path_factory.mktemp("flat") / "some_periodic_file.bin"
    data = writers.pdebench_flat(path, kind=kind, extra_time=extra_time, lead=lead, attrs=attrs)
    ds = open_dataset(path)
    for name, values in data.items():
        found = ds["u" if name == "tensor" else name]
        np.testing.assert_array_equal(found, values.reshape(found.shape))
        if kind != "darcy":
            assert (
                found.dims[:2] == ("sample", "time")
                and found.role == "state"
                and ds.sizes["time"] == 4
            )
    assert ds["x"].bounds == pytest.approx((-1, 1))
    if attrs or kind.startswith("cfd"):  # the file name says periodic
        assert ds["x"].periodic == (kind != "darcy")
    names = {v for v in ds.data_vars if ds[v].role == "parameter"}
    assert names == (
        {
            "advection": {"beta"},
            "burgers": {"Nu"},
            "reaction": {"Nu", "rho"},
            "darcy": {"beta"},
        }.get(kind, {"eta", "zeta", "M"})
        if attrs
        else set()
    )


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("1D_Advection_Sols_beta0.1.hdf5", {"beta": 0.1}),
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", {"Nu": 0.5, "Rho": 1.0}),
        ("1D_CFD_Rand_Eta1.e-8_Zeta1e-08_trans_Train.hdf5", {"Eta": 1e-8, "Zeta": 1e-8}),
    ],
)
def test_pdebench_constants_from_the_file_name(tmp_path, name, constants):
    writers.pdebench_flat(tmp_path / name, kind="cfd1" if "CFD" in name else "burgers", attrs=False)
    ds = open_dataset(tmp_path / name)
    assert {v: float(ds[v]) for v in ds.data_vars if ds[v].role == "parameter"} == constants
    assert ds["x"].periodic == ("trans" not in name)


@pytest.mark.parametrize("kind", ["react", "water", "sorption"])
def test_pdebench_groups(tmp_path, kind):
    data = writers.pdebench_groups(tmp_path / "a.h5", kind=kind)
    ds = open_dataset(tmp_path / "a.h5")
    if kind == "react":  # stored T Y X
        np.testing.assert_array_equal(ds["v"].transpose("sample", "time", "y", "x"), data[..., 1])
        np.testing.assert_array_equal(ds["u"][1, 1:3, 2], data[1, 1:3, :, 2, 0])
    else:
        np.testing.assert_array_equal(ds["h" if kind == "water" else "u"], data[..., 0])
    assert (
        ds["x"].bounds == pytest.approx((0, 1))
        and ds["time"][-1] == 5
        and "seed" in ds.attrs["protocol"]
    )


def test_pdebench_groups_of_unequal_shape_are_named(tmp_path):
    writers.pdebench_groups(tmp_path / "a.h5", kind="water")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["0001/data"]
        file["0001/data"] = np.zeros((3, 5, 6, 1), "f4")
    ds = open_dataset(tmp_path / "a.h5")
    assert np.isfinite(ds["h"][2]).all()
    with pytest.raises(
        DataError, match=r"Part 1 has the shape \(1, 3, 5, 6\), the other parts have \(1, 4, 5, 6\)"
    ):
        ds["h"].load()


def test_pdebench_incompressible(tmp_path):
    data = writers.pdebench_incompressible(tmp_path / "a.h5")
    ds = open_dataset(tmp_path / "a.h5")
    np.testing.assert_array_equal(ds["velocity_y"], data["velocity"][..., 1])
    np.testing.assert_array_equal(ds["force_x"], data["force"][..., 0])
    assert ds["force_x"].role == "input" and ds["particles"].role == "state" and ds["x"][0] == 0.125


def test_pdearena_smoke(tmp_path):
    data = writers.pdearena(tmp_path / "a.h5")
    ds = open_dataset(tmp_path / "a.h5")
    np.testing.assert_array_equal(ds["vy"], data["vy"])
    assert (
        ds["u"].dtype == np.float64
        and ds["split"].values.tolist() == [1, 1]
        and ds["buo_y"].role == "parameter"
    )
    assert ds["time"].values.tolist() == [18, 60, 102] and ds["x"].values.tolist() == [
        4,
        12,
        20,
        28,
    ]
    assert ds["x"].bounds == (0.0, 32.0) and "sample_x" not in ds


@pytest.mark.parametrize("attributes", [True, False])
def test_pdearena_one_dimensional(tmp_path, attributes):
    u = writers.kuramoto(tmp_path / "a.h5", attributes=attributes)
    ds = open_dataset(tmp_path / "a.h5")
    np.testing.assert_array_equal(ds["u"], u)
    if attributes:
        assert ds["x"][-1] == 16 and ds["time"][-1] == 4 and ds["alpha"].role == "parameter"
    else:
        assert ds["sample_x"][1].values.tolist() == [0, 1, 2, 3] and ds["x"].bounds == (0.0, 2.0)


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("kind", ["darcy", "burgers", "navier_stokes"])
def test_fno_mat(tmp_path, version, kind):
    r = writers.rng()
    arrays = {
        "darcy": {
            "coeff": r.normal(size=(3, 4, 5)),
            "sol": r.normal(size=(3, 4, 5)),
            "Kcoeff": r.normal(size=(3, 4, 5)),
        },
        "burgers": {
            "a": r.normal(size=(3, 8)),
            "u": r.normal(size=(3, 8)),
            "a_x": r.normal(size=(3, 8)),
        },
        "navier_stokes": {
            "u": r.normal(size=(3, 4, 5, 6)),
            "a": r.normal(size=(3, 4, 5)),
            "t": np.arange(1.0, 7)[None],
        },
    }[kind]
    path = tmp_path / "data"
    if version == "5":
        with open(path, "wb") as file:
            scipy.io.savemat(file, arrays)
    else:
        writers.mat73(path, arrays)
    ds = open_dataset(path)
    if kind == "navier_stokes":
        np.testing.assert_array_equal(ds["u"], np.moveaxis(arrays["u"], -1, 1))
        np.testing.assert_array_equal(
            ds["u"][1, 2:4, :, 3], np.moveaxis(arrays["u"], -1, 1)[1, 2:4, :, 3]
        )
        assert (
            ds["time"].values.tolist() == [1, 2, 3, 4, 5, 6]
            and ds["a"].role == "input"
            and ds["x"].periodic == 1
        )
    else:
        given, wanted = ("coeff", "sol") if kind == "darcy" else ("a", "u")
        assert {v: ds[v].role for v in ds.data_vars} == {given: "input", wanted: "output"}
        np.testing.assert_array_equal(ds[wanted], arrays[wanted])
        np.testing.assert_array_equal(ds[given], arrays[given])
    last = {"darcy": 1.0, "burgers": 7 / 8, "navier_stokes": 3 / 4}[kind]
    assert float(ds["x"][-1]) == last and ds["x"].bounds == (0.0, 1.0)


@pytest.mark.parametrize("channels", [1, 2])
def test_apebench(tmp_path, channels):
    data = writers.rng().normal(size=(2, 3, channels, 8, 8)).astype("f4")
    np.save(tmp_path / "2d_burgers_test.npy", data)
    (tmp_path / "2d_burgers.json").write_text(
        json.dumps({"name": "burgers", "domain_extent": 2.0, "dt": 0.1})
    )
    ds = open_dataset(tmp_path / "2d_burgers_test.npy")
    np.testing.assert_array_equal(ds["u" if channels == 1 else "u_1"], data[:, :, -1])
    assert (
        ds["x"].bounds == (0.0, 2.0)
        and ds["x"].periodic == 1
        and ds["split"].values.tolist() == [2, 2]
    )
    assert ds["time"].values.tolist() == [0, 0.1, 0.2]


def cf_file(path, engine):
    lon = np.arange(8) * 45.0
    lat = np.array([-60.0, 0, 60])
    raw = np.ma.masked_values(np.arange(2 * 3 * 8).reshape(2, 3, 8).astype("f4"), 5)
    ds = xr.Dataset(
        {
            "sst": (
                ("time", "depth", "lat", "lon"),
                raw.filled(np.nan)[:, None],
                {"units": "K", "long_name": "temperature"},
            )
        },
        {
            "lon": ("lon", lon, {"units": "degrees_east"}),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "time": ("time", [0.0, 30.0], {"units": "days since 2000-01-01"}),
        },
    )
    packed = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -999}
    ds.to_netcdf(
        path,
        engine=engine,
        encoding={"sst": packed},
        format="NETCDF3_CLASSIC" if engine == "scipy" else None,
    )
    return raw.filled(np.nan)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_cf_netcdf(tmp_path, engine):
    values = cf_file(tmp_path / "a.nc", engine)
    ds = open_dataset(tmp_path / "a.nc")
    assert ds["sst"].dims == ("sample", "time", "lat", "lon") and ds["sst"].units == "K"
    np.testing.assert_array_equal(ds["sst"][0], values)
    assert ds["lon"].periodic == 1 and ds["lon"].bounds == (0.0, 360.0) and ds["lat"].periodic == 0
    assert ds["time"].values.tolist() == [0, 30] and ds["time"].units == "days since 2000-01-01"


def test_points_that_move_and_points_that_do_not(tmp_path):
    r = writers.rng()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.update(
            {
                "xy": r.random((50, 2)),
                "t": np.arange(3.0),
                "velocity": r.random((3, 50, 2)),
                "p": r.random((3, 50)),
            }
        )
        velocity = file["velocity"][...]
    ds = open_dataset(tmp_path / "a.h5")
    assert ds["p"].dims == ("sample", "time", "point") and ds["x"].dims == ("point",)
    np.testing.assert_array_equal(ds["velocity_y"][0], velocity[..., 1])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.update(
            {
                "x": r.random((4, 30)),
                "y": r.random((4, 30)),
                "u": r.random((4, 30)),
                "mu": r.random((4, 2)),
            }
        )
        file["triangles"] = np.array([[0, 1, 2], [1, 2, 29]])
    ds = open_dataset(tmp_path / "b.h5")
    assert (
        ds["x"].dims == ("sample", "point")
        and ds["mu_1"].role == "parameter"
        and ds["u"].role == "output"
    )
    assert ds["triangles"].dims == ("triangle", "corner")
    ds.close()
    with h5py.File(tmp_path / "b.h5", "a") as file:
        file["triangles"][0, 0] = 30
    with pytest.raises(DataError, match="refers to point 30, but the file has 30 points"):
        open_dataset(tmp_path / "b.h5")


def test_a_mapping_opens_an_unknown_file(tmp_path):
    r = writers.rng()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.update(
            {
                "out/psi": r.random((7, 3, 5, 2)),
                "begin": r.random((3, 5)),
                "where": np.arange(5) / 5,
                "when": np.arange(8.0),
            }
        )
        file.attrs["nu"] = 0.1
        psi = file["out/psi"][...]
        begin = file["begin"][...]
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "dims: [time, sample, x, 1]\n"
        "fields:\n  psi: /out/psi\n  a: {path: /begin, dims: [sample, x], role: input, units: m}\n"
        "coords: {x: /where, time: /when}\nparameters: {nu: '@nu'}\nperiodic: [x]\n"
    )
    with pytest.raises(DataError, match="has an unknown layout"):
        open_dataset(tmp_path / "a.h5")
    ds = open_dataset(tmp_path / "a.h5", mapping=mapping)
    np.testing.assert_array_equal(ds["psi"], psi[..., 1].transpose(1, 0, 2))
    np.testing.assert_array_equal(ds["a"], begin)
    assert (
        ds["a"].attrs == {"role": "input", "units": "m"}
        and ds["x"].bounds == (0.0, 1.0)
        and float(ds["nu"]) == 0.1
    )
    assert ds["time"].values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    for wrong, message in (
        ({"dims": ["sample"], "fields": {"psi": "/out/psi"}}, "Name every axis"),
        ({"field": {}}, "Did you mean `fields`"),
        ({"dims": ["x"], "fields": {"u": "/no"}}, "no"),
    ):
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path / "a.h5", mapping=wrong)


def test_options_and_roles(tmp_path):
    writers.pdebench_flat(tmp_path / "a.h5", kind="cfd1")
    assert "periodic" not in open_dataset(tmp_path / "a.h5")["x"].attrs
    ds = open_dataset(tmp_path / "a.h5", periodic=True, roles={"density": "input"})
    assert ds["x"].periodic == 1 and ds["density"].role == "input"
    with pytest.raises(DataError, match="has no option `periodik`; its options are: periodic"):
        open_dataset(tmp_path / "a.h5", periodik=True)
    with pytest.raises(DataError, match="Its variables are density"):
        open_dataset(tmp_path / "a.h5", roles={"rho": "input"})


def test_engines_open_their_layout_in_plain_xarray(tmp_path):
    import tomllib
    from importlib import import_module
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    engines = {}
    for name, place in project["project"]["entry-points"]["xarray.backends"].items():
        module, cls = place.split(":")
        engines[name] = getattr(import_module(module), cls)
    data = writers.pdebench_flat(tmp_path / "a.hdf5")
    with xr.open_dataset(
        tmp_path / "a.hdf5", engine=engines["pdebench"], drop_variables="Nu"
    ) as ds:
        np.testing.assert_array_equal(ds["u"], data["tensor"])
        assert "Nu" not in ds
    with pytest.raises(DataError, match="which the engine the_well does not open"):
        xr.open_dataset(tmp_path / "a.hdf5", engine=engines["the_well"])


@pytest.mark.parametrize(
    "write", [writers.the_well, writers.pdebench_flat, writers.pdearena, writers.pdebench_groups]
)
def test_layouts_are_unchanged_by_the_native_one(tmp_path, write):
    write(tmp_path / "a.h5")
    ds = open_dataset(tmp_path / "a.h5")
    write_dataset(ds, tmp_path / "b.nc")
    back = open_dataset(tmp_path / "b.nc")
    for name in ds.variables:
        xr.testing.assert_equal(back[name], ds[name])
        assert back[name].attrs == ds[name].attrs and back[name].dtype == ds[name].dtype
