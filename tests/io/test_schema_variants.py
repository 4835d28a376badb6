"""Variants of the layouts: sizes, versions, optional parts, order of axes."""

import json

import h5py
import numpy as np
import scipy.io
import torch
import writers
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fields.io import open_dataset, write_dataset

QUICK = settings(
    max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
SIZE = st.integers(2, 5)
FEW = st.integers(1, 3)


def same(found, wanted, dims=None):
    np.testing.assert_array_equal(found, wanted)
    assert dims is None or found.dims == dims


@QUICK
@given(
    kind=st.sampled_from(["react", "water", "sorption"]),
    samples=FEW,
    frames=FEW,
    nx=SIZE,
    ny=SIZE,
    longer=st.booleans(),
)
def test_pdebench_groups(tmp_path_factory, kind, samples, frames, nx, ny, longer):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    data = writers.pdebench_groups(path, kind=kind, samples=samples, frames=frames, nx=nx, ny=ny)
    if longer:  # one time too many, and a sample without its attribute
        with h5py.File(path, "a") as file:
            del file["0000/grid/t"], file["0000"].attrs["config"]
            file["0000/grid/t"] = np.arange(frames + 1.0)
    with open_dataset(path) as ds:
        if kind == "react":
            same(ds["v"].transpose("sample", "time", "y", "x"), data[..., 1])
            assert ds["u"].dims == ("sample", "time", "x", "y")
        else:
            same(ds["h" if kind == "water" else "u"], data[..., 0])
        assert ds.sizes["time"] == frames and ("protocol" in ds.attrs) != longer


@QUICK
@given(samples=FEW, frames=FEW, n=SIZE)
def test_pdebench_incompressible(tmp_path_factory, samples, frames, n):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    data = writers.pdebench_incompressible(path, samples=samples, frames=frames, n=n)
    with open_dataset(path) as ds:
        for i, a in enumerate("xy"):
            same(ds[f"velocity_{a}"], data["velocity"][..., i])
            same(ds[f"force_{a}"], data["force"][..., i])
        same(ds["particles"], data["particles"][..., 0])


@QUICK
@given(
    mode=st.sampled_from(["train", "valid", "test"]),
    samples=FEW,
    frames=FEW,
    n=SIZE,
    absent=st.sampled_from(["buo_y", "dt", "dx"]),
)
def test_pdearena(tmp_path_factory, mode, samples, frames, n, absent):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    data = writers.pdearena(path, mode=mode, samples=samples, frames=frames, n=n)
    with h5py.File(path, "a") as file:
        del file[mode][absent]
    with open_dataset(path) as ds:
        for name, values in data.items():
            same(ds[name], values, ("sample", "time", "x", "y"))
        assert set(ds["split"].values) == {["train", "valid", "test"].index(mode)} and (
            "buo_y" in ds
        ) == (absent != "buo_y")
    for attributes in (True, False):
        u = writers.kuramoto(path, attributes=attributes, samples=samples, frames=frames, n=n)
        with open_dataset(path) as ds:
            same(ds["u"], u, ("sample", "time", "x"))


@QUICK
@given(
    version=st.sampled_from(["5", "5 packed", "7.3"]),
    samples=SIZE,
    n=st.integers(4, 6),
    m=st.integers(7, 9),
    single=st.booleans(),
)
def test_fno_mat(tmp_path_factory, version, samples, n, m, single):
    r = writers.rng()
    path = tmp_path_factory.mktemp("a") / "a.mat"
    kind = "f4" if single else "f8"
    for arrays in (
        {
            "coeff": r.random((samples, n, m)).astype(kind),
            "sol": r.random((samples, n, m)).astype(kind),
        },
        {"a": r.random((samples, m)).astype(kind), "u": r.random((samples, m)).astype(kind)},
        {"u": r.random((samples, n, m, 6)).astype(kind)},
    ):
        if version == "7.3":
            writers.mat73(path, arrays)
        else:
            with open(path, "wb") as file:
                scipy.io.savemat(file, arrays, do_compression="packed" in version)
        with open_dataset(path) as ds:
            for name, values in arrays.items():
                same(ds[name], np.moveaxis(values, -1, 1) if values.ndim == 4 else values)
                assert ds[name].dtype == kind


@QUICK
@given(
    samples=FEW,
    frames=SIZE,
    channels=FEW,
    grid=st.lists(SIZE, min_size=1, max_size=3),
    about=st.booleans(),
)
def test_apebench(tmp_path_factory, samples, frames, channels, grid, about):
    folder = tmp_path_factory.mktemp("a")
    data = writers.rng().normal(size=(samples, frames, channels, *grid)).astype("f4")
    np.save(folder / "x_train.npy", data)
    if about:
        (folder / "x.json").write_text(json.dumps({"domain_extent": 3.0, "dt": 0.5}))
    with open_dataset(folder / "x_train.npy") as ds:
        for c in range(channels):
            same(
                ds["u" if channels == 1 else f"u_{c}"],
                data[:, :, c],
                ("sample", "time", *"xyz"[: len(grid)]),
            )
        assert ds["x"].bounds == ((0.0, 3.0) if about else (0.0, 1.0)) and ds["time"].values[1] == (
            0.5 if about else 1
        )


@QUICK
@given(
    samples=FEW,
    grid=st.lists(SIZE, min_size=1, max_size=2),
    frames=st.sampled_from([0, 2, 3]),
    bools=st.booleans(),
)
def test_neuraloperator(tmp_path_factory, samples, grid, frames, bools):
    path = tmp_path_factory.mktemp("a") / "a.pt"
    r = writers.rng()
    x = torch.from_numpy(r.random((samples, *grid)) > 0.5 if bools else r.random((samples, *grid)))
    y = torch.from_numpy(r.random((samples, *((frames,) if frames else ()), *grid)))
    torch.save({"x": x, "y": y}, path)
    with open_dataset(path) as ds:
        same(ds["input"], x.numpy())
        same(
            ds["output"], y.numpy(), ("sample", *(("time",) if frames else ()), *"xy"[: len(grid)])
        )
    sizes = [int(n) for n in r.integers(3, 9, samples)]
    torch.save(
        [
            {"vertices": torch.rand(n, 3), "press": torch.rand(1, n), "area": torch.rand(n)}
            for n in sizes
        ],
        path,
    )
    with open_dataset(path) as ds:
        assert ds.sizes == {"sample": samples, "point": max(sizes)}
        assert (
            np.isfinite(ds["press"].values).sum(1).tolist()
            == np.isfinite(ds["x"].values).sum(1).tolist()
            == sizes
        )


@QUICK
@given(
    joint=st.booleans(),
    d=st.sampled_from([2, 3]),
    moving=st.booleans(),
    timed=st.booleans(),
    components=st.sampled_from([0, 2, 4]),
)
def test_points(tmp_path_factory, joint, d, moving, timed, components):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    r = writers.rng()
    samples = 3
    frames = 2
    count = 20
    places = r.random((*((samples,) if moving else ()), count, d))
    lead = ((samples, frames) if moving else (frames,)) if timed else ((samples,) if moving else ())
    u = r.random((*lead, count, *((components,) if components else ())))
    with h5py.File(path, "w") as file:
        file.update({"points": places} if joint else {"xyz"[i]: places[..., i] for i in range(d)})
        file.update({"u": u} | ({"t": np.arange(float(frames))} if timed else {}))
    with open_dataset(path) as ds:
        same(ds["y"], places[..., 1], ("sample", "point") if moving else ("point",))
        labels = "xyz"[:d] if components == d else "0123"[:components]
        for i, name in enumerate([f"u_{label}" for label in labels] or ["u"]):
            wanted = u[..., i] if components else u
            same(
                ds[name],
                wanted if moving else wanted[None],
                ("sample", *(("time",) if timed else ()), "point"),
            )


@QUICK
@given(
    engine=st.sampled_from(["h5netcdf", "scipy"]),
    packed=st.booleans(),
    members=st.sampled_from([0, 2]),
    timed=st.booleans(),
    level=st.booleans(),
    curved=st.booleans(),
)
def test_cf_netcdf(tmp_path_factory, engine, packed, members, timed, level, curved):
    path = tmp_path_factory.mktemp("a") / "a.nc"
    sizes = {"member": members, "time": 2 * timed, "lev": int(level), "j": 3, "i": 8}
    sizes = {name: n for name, n in sizes.items() if n}
    values = np.arange(float(np.prod(list(sizes.values())))).reshape(list(sizes.values()))
    values.flat[1] = np.nan
    coords = {"time": ("time", [0.0, 30.0], {"units": "days since 2000-01-01"})} if timed else {}
    if curved:
        for name in ("latitude", "longitude"):
            coords[name] = (("j", "i"), writers.rng().random((3, 8)), {"standard_name": name})
    packing = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -999}
    ds = xr.Dataset({"sst": (list(sizes), values, {"units": "K"})}, coords)
    ds.to_netcdf(
        path,
        engine=engine,
        encoding={"sst": packing} if packed else {},
        **({} if engine == "h5netcdf" else {"format": "NETCDF3_CLASSIC"}),
    )
    with open_dataset(path) as back:
        wanted = values.reshape(members or 1, *((2,) if timed else ()), 3, 8)
        same(back["sst"], wanted, ("sample", *(("time",) if timed else ()), "j", "i"))
        assert ("latitude" in back) == curved and back["sst"].attrs["units"] == "K"


@QUICK
@given(
    samples=FEW,
    frames=st.sampled_from([0, 1, 3]),
    grid=st.lists(SIZE, min_size=1, max_size=3),
    logical=st.booleans(),
    compression=st.sampled_from([None, "gzip", "lzf"]),
    parameter=st.booleans(),
)
def test_native(tmp_path_factory, samples, frames, grid, logical, compression, parameter):
    r = writers.rng()
    axes = "xyz"[: len(grid)]
    lead = {"sample": samples} | ({"time": frames} if frames else {})
    u = r.normal(size=(*lead.values(), *grid)).astype("f4")
    variables = {"u": ((*lead, *axes), u, {"role": "state" if frames else "output"})}
    variables["a"] = (
        ("sample", *axes),
        r.random((samples, *grid)) > 0.5 if logical else r.random((samples, *grid)),
        {"role": "input"},
    )
    if parameter:
        variables["nu"] = ("sample", r.random(samples), {"role": "parameter", "units": "m2/s"})
    coords = {
        a: (a, np.arange(n) / n, {"periodic": 1, "bounds": (0.0, 1.0)})
        for a, n in zip(axes, grid, strict=True)
    }
    ds = xr.Dataset(
        variables, coords | ({"time": ("time", np.arange(float(frames)))} if frames else {})
    )
    path = tmp_path_factory.mktemp("a") / "a.nc"
    write_dataset(ds, path, compression=compression)
    with open_dataset(path) as back:
        for name in ds.variables:
            same(back[name], ds[name], ds[name].dims)
            assert back[name].dtype == ds[name].dtype and back[name].attrs == ds[name].attrs
