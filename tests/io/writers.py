"""Small valid files of several layouts, as their own projects write them."""

import pickle

import h5py
import numpy as np
import xarray as xr


def rng():
    return np.random.default_rng(0)


def the_well(
    path, *, samples=2, frames=3, sample_time=False, still=True, trajectory=0, grid=(4, 5)
):
    """Scalars, a vector and a tensor on a 2-D grid, periodic in x, walls in y."""
    names = ("x", "log_y")
    d = 2
    random = np.random.default_rng(trajectory)
    data = {
        "t0_fields/density": random.normal(size=(samples, frames, *grid)).astype("f4"),
        # The same for all samples, times and y.
        "t0_fields/height": random.normal(size=grid[:1]).astype("f4"),
        "t1_fields/velocity": random.normal(size=(samples, frames, *grid, d)).astype("f4"),
        "t2_fields/D": random.normal(size=(samples, frames, *grid, d, d)).astype("f4"),
    }
    if not still:
        del data["t0_fields/height"]
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {
                "dataset_name": "dummy",
                "grid_type": "cartesian",
                "n_spatial_dims": d,
                "n_trajectories": samples,
            }
        )
        for group in ("t0_fields", "t1_fields", "t2_fields"):
            fields = [name.split("/")[1] for name in data if name.startswith(group)]
            file.create_group(group).attrs["field_names"] = fields
        for name, values in data.items():
            constant = name.endswith("height")
            dataset = file.create_dataset(name, data=values)
            dataset.attrs.update({"sample_varying": not constant, "time_varying": not constant})
            dataset.attrs["dim_varying"] = [True, not constant]
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = list(names)
        time = np.arange(frames, dtype="f4")
        dims["time"] = np.stack([time + 10 * i for i in range(samples)]) if sample_time else time
        dims["time"].attrs["sample_varying"] = sample_time
        for name, n in zip(names, grid, strict=True):
            dims[name] = (np.arange(n, dtype="f4") + 0.5) / n
            dims[name].attrs["sample_varying"] = False
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["Re", "gamma", "pump"]
        for name, values, flags in (
            ("Re", np.arange(samples) + 100.0, (True, False)),
            ("gamma", 1.4, (False, False)),
            ("pump", np.arange(frames) * 1.0, (False, True)),
        ):
            scalars[name] = values
            scalars[name].attrs.update({"sample_varying": flags[0], "time_varying": flags[1]})
        for name, axis, kind in (("x_periodic", "x", "PERIODIC"), ("y_wall", "log_y", "WALL")):
            group = file.create_group(f"boundary_conditions/{name}")
            group.attrs.update(
                {"bc_type": kind, "associated_dims": [axis] if kind == "WALL" else axis}
            )
            n = grid[names.index(axis)]
            group["mask"] = np.isin(np.arange(n), (0, n - 1))
    return data


def pdebench_flat(
    path, *, kind="burgers", samples=3, frames=4, n=6, extra_time=True, lead=(), attrs=True
):
    """``kind`` is advection, burgers, reaction, cfd1, cfd2, cfd3 or darcy."""
    space = {"cfd2": 2, "cfd3": 3, "darcy": 2}.get(kind, 1)
    shape = (*lead, samples, frames, *([n] * space))
    names = (
        ["density", "pressure", "Vx", "Vy", "Vz"][: 2 + space]
        if kind.startswith("cfd")
        else ["tensor"]
    )
    data = {name: rng().normal(size=shape).astype("f4") + i for i, name in enumerate(names)}
    if kind == "darcy":
        data = {
            "nu": rng().random((samples, n, n), dtype="f4"),
            "tensor": rng().random((samples, 1, n, n), dtype="f4"),
        }
    with h5py.File(path, "w") as file:
        file.update(data)
        for axis in "xyz"[:space]:
            file[f"{axis}-coordinate"] = -1 + 2 * (np.arange(n) + 0.5) / n
        file["t-coordinate"] = np.arange(frames + extra_time) * 0.1
        constants = {
            "advection": {"beta": 0.4},
            "burgers": {"Nu": 0.01},
            "reaction": {"Nu": 0.5, "rho": 1.0},
        }
        if attrs:
            file.attrs.update(
                constants.get(
                    kind,
                    {"beta": 0.1} if kind == "darcy" else {"eta": 0.01, "zeta": 0.01, "M": 0.1},
                )
            )
    return data


def pdebench_groups(path, *, kind="react", samples=3, frames=4, nx=5, ny=6):
    """``kind`` is react (T Y X 2), water (T X Y 1) or sorption (T X 1)."""
    shape = {
        "react": (frames, ny, nx, 2),
        "water": (frames, nx, ny, 1),
        "sorption": (frames, nx, 1),
    }[kind]
    data = rng().normal(size=(samples, *shape)).astype("f4")
    with h5py.File(path, "w") as file:
        for i, values in enumerate(data):
            group = file.create_group(f"{i:04d}")
            group.create_dataset("data", data=values, compression="lzf")
            group["grid/x"] = (np.arange(nx) + 0.5) / nx
            group["grid/t"] = np.linspace(0, 5, frames)
            if kind != "sorption":
                group["grid/y"] = (np.arange(ny) + 0.5) / ny
            group.attrs["config"] = "seed: 1"
    return data


def pdebench_incompressible(path, *, samples=2, frames=3, n=4):
    data = {
        "velocity": rng().normal(size=(samples, frames, n, n, 2)).astype("f4"),
        "particles": rng().normal(size=(samples, frames, n, n, 1)).astype("f4"),
        "force": rng().normal(size=(samples, n, n, 2)).astype("f4"),
        "t": np.tile(np.arange(frames) * 0.5, (samples, 1)),
    }
    with h5py.File(path, "w") as file:
        file.update(data)
    return data


def pdearena(path, *, mode="valid", samples=2, frames=3, n=4):
    data = {
        name: rng().normal(size=(samples, frames, n, n)) + i
        for i, name in enumerate(("u", "vx", "vy"))
    }
    with h5py.File(path, "w") as file:
        group = file.create_group(mode)
        group.update(data)
        group["t"] = np.tile(np.linspace(18, 102, frames), (samples, 1))
        group["x"] = group["y"] = np.tile((np.arange(n) + 0.5) * 8, (samples, 1))
        group["dt"], group["dx"], group["dy"] = (np.full(samples, v) for v in (6.0, 8.0, 8.0))
        group["buo_y"] = np.linspace(0.2, 0.5, samples)
    return data


def kuramoto(path, *, attributes, samples=2, frames=3, n=4):
    u = rng().normal(size=(samples, frames, n))
    with h5py.File(path, "w") as file:
        group = file.create_group("train")
        group[f"pde_{frames}-{n}"] = u
        if attributes:
            group[f"pde_{frames}-{n}"].attrs.update(
                {"x": np.linspace(0, 16, n), "tmin": 0.0, "tmax": 4.0}
            )
            group["alpha"] = np.arange(samples) * 1.0
        else:
            group["dt"] = np.full(samples, 0.2)
            group["dx"] = np.linspace(0.5, 1, samples)
            group["v"] = np.ones(samples)
    return u


def mat73(path, arrays):
    """MATLAB 7.3: HDF5 behind a user block of 512 bytes, all axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def maxwell(path, *, mode="train", samples=2, frames=3, grid=(2, 3, 4)):
    data = {
        name: rng().normal(size=(samples, frames, *grid, 3)) + i
        for i, name in enumerate(("d_field", "h_field"))
    }
    with h5py.File(path, "w") as file:
        file.create_group(mode).update(data)
    return data


def pdearena_sphere(path, *, split="", seeds=2, runs=2, frames=3, level=True):
    """One netCDF file per run, with an axis of one level in the velocities."""
    data = []
    nlat = 4
    nlon = 8
    for seed in range(seeds):
        for run in range(runs):
            values = {
                name: np.random.default_rng(10 * seed + run)
                .normal(size=(frames, nlat, nlon))
                .astype("f4")
                for name in "uv"
            }
            values |= {"pres": values["u"] + 1, "vor": values["v"] + 2}
            layered = {n: v[:, None] if level and n != "pres" else v for n, v in values.items()}
            dims = {
                n: ("time", "lev", "lat", "lon") if v.ndim == 4 else ("time", "lat", "lon")
                for n, v in layered.items()
            }
            coords = {
                "time": ("time", np.arange(frames) * 6.0, {"units": "hours since 2000-01-01"}),
                "lat": ("lat", np.linspace(80, -80, nlat), {"units": "degrees_north"}),
                "lon": ("lon", np.arange(nlon) * 360 / nlon, {"units": "degrees_east"}),
            } | ({"lev": ("lev", [0.5])} if level else {})
            file = path / split / f"seed={seed}" / f"run{run}" / "output.nc"
            file.parent.mkdir(parents=True)
            xr.Dataset({n: (dims[n], v) for n, v in layered.items()}, coords).to_netcdf(
                file, engine="h5netcdf"
            )
            data.append(values)
    return data


def geo_fno(path, *, samples=3, grid=(4, 5), channels=5):
    """A curvilinear grid; ``path`` is the folder."""
    x = rng().random((samples, *grid))
    y = rng().random((samples, *grid)) + 1
    q = rng().normal(size=(samples, channels, *grid))
    for word, values in (("X", x), ("Y", y), ("Q", q)):
        np.save(path / f"NACA_Cylinder_{word}.npy", values)
    return x, y, q


def geo_fno_scattered(path, *, samples=3, points=7):
    xy = rng().random((points, 2, samples))
    sigma = rng().normal(size=(points, samples))
    np.save(path / "Random_UnitCell_XY_10.npy", xy)
    np.save(path / "Random_UnitCell_sigma_10.npy", sigma)
    return xy, sigma


def dino_sphere(path, *, trajectories=2, frames=3, sim_time=True):
    """Dedalus' analysis files: coordinates are dimension scales of shape (n, 1) and (1, n)."""
    path.mkdir()
    data = []
    phi = np.arange(8) * np.pi / 4
    theta = np.linspace(3, 0.1, 5)
    for i in range(trajectories):
        values = {
            name: np.random.default_rng(i).normal(size=(frames, 8, 5)) + k
            for k, name in enumerate(("height", "vorticity"))
        }
        with h5py.File(path / f"traj_{i:04d}.h5", "w") as file:
            scales = {"phi": phi[:, None], "theta": theta[None]} | (
                {"sim_time": np.arange(frames) * 0.5} if sim_time else {}
            )
            for name, scale in scales.items():
                file[f"scales/{name}"] = scale
                file[f"scales/{name}"].make_scale(name)
            for name, field in values.items():
                file[f"tasks/{name}"] = field
                for axis, scale in (
                    (1, "phi"),
                    (2, "theta"),
                    *([(0, "sim_time")] if sim_time else []),
                ):
                    file[f"tasks/{name}"].dims[axis].attach_scale(file[f"scales/{scale}"])
        data.append(values)
    return data


def dino_shelf(path, *, samples=3, channels=1, kind="dumb", extra=None):
    """As `shelve` writes it: one pickle per key, in one of Python's databases."""
    from importlib import import_module

    data = [rng().normal(size=(channels, 4, 6, 5)).astype("f4") + i for i in range(samples)]
    with import_module(f"dbm.{kind}").open(str(path), "n") as shelf:
        for i, values in enumerate(data):
            shelf[str(i).encode()] = pickle.dumps(
                {"data": values} if extra is None else {"data": values, "more": extra}
            )
    return data
