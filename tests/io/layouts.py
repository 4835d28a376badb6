"""One small valid example of every layout, for tests that hold for all of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import scipy.io
import torch
import writers
import xarray as xr

from fields.io import write_dataset


class Example(NamedTuple):
    """How a layout is written into a folder (the answer is what to open), and what is known about it.

    Args:
        write: writes into an existing folder.
        layout: the name its reader gives it.
        engine: the xarray engine that opens it.
        checked: every byte is covered by a checksum, so that a flipped one can be noticed.
        options: for `open_dataset`.
    """

    write: Callable[[Path], Path]
    layout: str
    engine: str
    checked: bool = False
    options: dict = {}  # noqa: RUF012  never changed


def own(folder):
    x = {
        c: (c, np.arange(n) / n, {"periodic": 1, "bounds": (0.0, 1.0)})
        for c, n in (("x", 5), ("y", 7))
    }
    u = writers.rng().normal(size=(3, 4, 5, 7)).astype("f4")
    ds = xr.Dataset(
        {"u": (("sample", "time", "x", "y"), u, {"role": "state"})},
        x | {"time": ("time", np.arange(4.0))},
    )
    write_dataset(ds.assign(nu=("sample", np.arange(3.0), {"role": "parameter"})), folder / "a")
    return folder / "a"


def by(writer, name="a", **options):
    """A writer of one file."""

    def write(folder):
        writer(folder / name, **options)
        return folder / name

    return write


def checked(writer, **options):
    """The same file in HDF5's 1.10 format, every array compressed, so that all of it has checksums."""

    def write(folder):
        writer(folder / "old", **options)
        with (
            h5py.File(folder / "old") as old,
            h5py.File(folder / "a", "w", libver=("v110", "v110")) as new,
        ):
            new.attrs.update(old.attrs)

            def visit(name, item):
                if isinstance(item, h5py.Group):
                    made = new.require_group(name)
                else:
                    made = new.create_dataset(
                        name, data=item[()], **({"compression": "gzip"} if item.shape else {})
                    )
                made.attrs.update(item.attrs)

            old.visititems(visit)
        (folder / "old").unlink()
        return folder / "a"

    return write


def well_folder(folder):
    for part in ("train", "test"):
        (folder / part).mkdir()
        writers.the_well(folder / part / "0.hdf5")
    return folder


def saved(content):
    def write(folder):
        torch.save(content(), folder / "a")
        return folder / "a"

    return write


def pair():
    x = torch.from_numpy(writers.rng().random((3, 8)))
    return {"x": x, "y": torch.stack([x, x + 1, x + 2], 1), "visc": torch.full((1, 1), 0.01)}


def surfaces():
    r = torch.Generator().manual_seed(0)
    return [
        {
            "vertices": torch.rand(n, 3, generator=r),
            "vertex_normals": torch.rand(n, 3, generator=r),
            "press": torch.rand(1, n),
        }
        for n in (5, 7)
    ]


def mat5(packed):
    def write(folder):
        arrays = {"a": writers.rng().random((4, 9)), "u": writers.rng().random((4, 9))}
        with open(folder / "a", "wb") as file:
            scipy.io.savemat(file, arrays, do_compression=packed)
        return folder / "a"

    return write


def mat73(folder):
    writers.mat73(
        folder / "a", {"u": writers.rng().normal(size=(3, 4, 5, 6)), "t": np.arange(1.0, 7)[None]}
    )
    return folder / "a"


def npz(folder):
    with open(folder / "a", "wb") as file:
        np.savez_compressed(
            file, x=np.arange(8.0), t=np.arange(5.0), u=writers.rng().random((8, 5))
        )
    return folder / "a"


def apebench(folder):
    np.save(folder / "2d_burgers_test.npy", writers.rng().normal(size=(2, 3, 2, 6, 6)).astype("f4"))
    (folder / "2d_burgers.json").write_text(
        json.dumps({"name": "burgers", "domain_extent": 2.0, "dt": 0.1})
    )
    return folder / "2d_burgers_test.npy"


def bent(folder):
    writers.geo_fno(folder)
    return folder / "NACA_Cylinder_Q.npy"


def scattered(folder):
    writers.geo_fno_scattered(folder)
    return folder / "Random_UnitCell_XY_10.npy"


def sphere(folder):
    writers.pdearena_sphere(folder, seeds=1)
    return folder


def points(folder):
    r = writers.rng()
    with h5py.File(folder / "a", "w") as file:
        file.update(
            {
                "x": r.random((4, 30)),
                "y": r.random((4, 30)),
                "u": r.random((4, 30)),
                "mu": r.random((4, 2)),
            }
        )
        file["triangles"] = np.array([[0, 1, 2], [1, 2, 29]])
    return folder / "a"


def cf(engine):
    def write(folder):
        time = ("time", [0.0, 30.0], {"units": "days since 2000-01-01"})
        coords = {
            "lon": ("lon", np.arange(8) * 45.0, {"units": "degrees_east"}),
            "lat": ("lat", [-60.0, 0, 60]),
            "time": time,
        }
        ds = xr.Dataset(
            {"sst": (("time", "lat", "lon"), np.arange(48.0).reshape(2, 3, 8), {"units": "K"})},
            coords,
        )
        packed = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -999}
        classic = {"format": "NETCDF3_CLASSIC"} if engine == "scipy" else {}
        ds.to_netcdf(folder / "a", engine=engine, encoding={"sst": packed}, **classic)
        return folder / "a"

    return write


def shelf(folder):
    writers.dino_shelf(folder / "ns_train")
    return folder / "ns_train.dat"


def unknown(folder):
    with h5py.File(folder / "a", "w") as file:
        file.update(
            {
                "run/psi": writers.rng().random((3, 4, 5)),
                "run/t": np.arange(4.0),
                "run/xs": np.arange(5) / 5,
            }
        )
    return folder / "a"


MAPPING = {
    "dims": ["sample", "time", "x"],
    "fields": {"psi": "/run/psi"},
    "coords": {"x": "/run/xs", "time": "/run/t"},
}

EXAMPLES = {
    "own": Example(own, "bracketfields", "bracketfields", True),
    "the_well": Example(by(writers.the_well), "the_well", "the_well"),
    "the_well, checksums": Example(checked(writers.the_well), "the_well", "the_well", True),
    "the_well, folder": Example(well_folder, "the_well", "the_well"),
    **{
        f"pdebench, {kind}": Example(by(writers.pdebench_flat, kind=kind), "pdebench", "pdebench")
        for kind in ("advection", "burgers", "reaction", "cfd1", "cfd2", "cfd3", "darcy")
    },
    "pdebench, checksums": Example(checked(writers.pdebench_flat), "pdebench", "pdebench", True),
    **{
        f"pdebench, {kind}": Example(
            by(writers.pdebench_groups, kind=kind), "pdebench_groups", "pdebench"
        )
        for kind in ("react", "water", "sorption")
    },
    "pdebench groups, checksums": Example(
        checked(writers.pdebench_groups), "pdebench_groups", "pdebench", True
    ),
    "pdebench, incompressible": Example(
        by(writers.pdebench_incompressible), "pdebench_incompressible", "pdebench"
    ),
    "pdearena": Example(by(writers.pdearena), "pdearena", "pdearena"),
    "pdearena, checksums": Example(checked(writers.pdearena), "pdearena", "pdearena", True),
    "pdearena, kuramoto": Example(by(writers.kuramoto, attributes=True), "pdearena", "pdearena"),
    "pdearena, kuramoto by sample": Example(
        by(writers.kuramoto, attributes=False), "pdearena", "pdearena"
    ),
    "pdearena, maxwell": Example(by(writers.maxwell), "pdearena", "pdearena"),
    "pdearena, sphere": Example(sphere, "pdearena_sphere", "pdearena"),
    "fno, mat 5": Example(mat5(False), "fno_mat", "fno_mat"),
    "fno, mat 5, compressed": Example(mat5(True), "fno_mat", "fno_mat", True),
    "fno, mat 7.3": Example(mat73, "fno_mat", "fno_mat"),
    "fno, npz": Example(npz, "fno_mat", "fno_mat", True),
    "neuraloperator": Example(saved(pair), "neuralop_pt", "neuralop_pt"),
    "neuraloperator, surfaces": Example(saved(surfaces), "surfaces_pt", "neuralop_pt"),
    "apebench": Example(apebench, "apebench", "apebench"),
    "geo_fno, bent grid": Example(bent, "geo_fno", "geo_fno"),
    "geo_fno, points": Example(scattered, "geo_fno", "geo_fno"),
    "points": Example(points, "points", "bracketfields"),
    "netcdf 4": Example(cf("h5netcdf"), "netcdf", "bracketfields"),
    "netcdf 3": Example(cf("scipy"), "netcdf", "bracketfields"),
    "dino, sphere": Example(by(writers.dino_sphere, "shallow_water_train"), "dino", "dino"),
    "dino, shelf": Example(shelf, "dino_shelf", "dino"),
    "mapping": Example(unknown, "mapping", "bracketfields", options={"mapping": MAPPING}),
}
