"""Windows, splits, statistics, symmetries, padding."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from problems import schema, waves

from fields.core.sample import Sample, Schema, collate
from fields.data import FieldDataset, schema_of, split_indices
from fields.data.statistics import dataset_statistics
from fields.data.symmetry import Symmetry
from fields.io import DataError, open_dataset, write_dataset


def trajectories(samples=3, frames=7, n=4) -> xr.Dataset:
    values = np.arange(samples * frames * n, dtype=float).reshape(samples, frames, n)
    return xr.Dataset(
        {
            "u": (("sample", "time", "x"), values, {"role": "state"}),
            "nu": ("sample", np.arange(samples) + 0.5, {"role": "parameter"}),
        },
        coords={
            "time": 0.1 * np.arange(frames),
            "x": ("x", np.arange(n) / n, {"periodic": 1, "bounds": (0.0, 1.0)}),
        },
    )


def test_a_window_is_history_then_horizon():
    ds = trajectories()
    data = FieldDataset(ds, schema_of(ds, history=2), horizon=3)
    assert len(data) == 3 * (7 - 2 - 3 + 1)
    # The second window of the second trajectory.
    sample = data[3 + 1]
    np.testing.assert_array_equal(sample.u[:, 0], ds.u[1, 1])
    np.testing.assert_array_equal(sample.u[:, 1], ds.u[1, 2])
    np.testing.assert_array_equal(sample.v[..., 0], ds.u[1, 3:6])
    np.testing.assert_allclose(sample.t, [0.1, 0.2, 0.3], atol=1e-6)
    assert sample.params.tolist() == [1.5]
    with pytest.raises(DataError, match="longer than the 7 frames"):
        FieldDataset(ds, schema_of(ds, history=5), horizon=3)


def test_strides_within_and_between_windows(tmp_path):
    ds = trajectories(frames=9)
    write_dataset(ds, tmp_path / "a.nc")
    for source, limit in ((ds, 1e9), (open_dataset(tmp_path / "a.nc"), 0)):
        s = schema_of(source, history=2, time_stride=2)
        assert s.dt == pytest.approx(0.2)
        data = FieldDataset(
            source, s, horizon=1, time_stride=2, window_stride=3, memory_limit=limit
        )
        assert len(data) == 3 * 2  # frames 0, 2, 4 and 3, 5, 7
        sample = data[1]
        np.testing.assert_array_equal(sample.u, ds.u[0, [3, 5]].T)
        np.testing.assert_array_equal(sample.v[0, :, 0], ds.u[0, 7])
        np.testing.assert_allclose(sample.t, [0.2], atol=1e-6)
    with pytest.raises(DataError, match="2 frames apart"):
        FieldDataset(ds, s, horizon=4, time_stride=2)
    # Without a horizon a window takes all frames that follow: 0, 2, …, 8.
    assert len(FieldDataset(ds, s, horizon=None, time_stride=2)) == 3


def test_no_window_reaches_beyond_the_end_of_its_trajectory():
    ds = trajectories(frames=6)
    times = np.tile(ds.time.values, (3, 1)) + np.arange(3)[:, None]
    times[1, 4:] = np.nan  # the second trajectory has four frames
    ds["u"][1, 4:] = np.nan
    ds = ds.assign_coords(sample_time=(("sample", "time"), times))
    data = FieldDataset(ds, schema_of(ds), horizon=2)
    assert len(data) == 4 + 2 + 4
    assert [data.locate(i) for i in (3, 4, 5, 6)] == [(0, 3), (1, 0), (1, 1), (2, 0)]
    assert all(torch.isfinite(part).all() for i in range(len(data)) for part in data[i])
    np.testing.assert_allclose(data[4].t, [0.1, 0.2], atol=1e-6)
    assert FieldDataset(ds, schema_of(ds), horizon=None).horizon == 3


def test_inputs_without_time_are_repeated_for_every_frame(tmp_path):
    ds = trajectories()
    ds["depth"] = (("sample", "x"), np.random.default_rng(0).normal(size=(3, 4)), {"role": "input"})
    write_dataset(ds, tmp_path / "a.nc")
    for source, limit in ((ds, 1e9), (open_dataset(tmp_path / "a.nc"), 0)):
        data = FieldDataset(source, schema_of(source, history=2), memory_limit=limit)
        assert data.schema.inputs == ("u", "depth") and data.schema.outputs == ("u",)
        u = data[1].u
        np.testing.assert_allclose(u[:, [1, 3]], np.stack([ds.depth[0]] * 2, -1), rtol=1e-6)
        np.testing.assert_allclose(u[:, [0, 2]], ds.u[0, 1:3].T)


def test_sensors_depend_only_on_seed_epoch_and_item():
    ds = waves(3, (6, 5), (False, True))
    whole = FieldDataset(ds, schema_of(ds))
    data = FieldDataset(ds, schema_of(ds), sensors=7, seed=1)
    given = [data[i] for i in range(3)]
    for i, sample in enumerate(given):
        assert sample.x.shape == (7, 2) and sample.u.shape == (7, 1) and bool(sample.x_mask.all())
        torch.testing.assert_close(sample.y, whole[i].y)
        torch.testing.assert_close(sample.v, whole[i].v)
        places = [int((whole[i].x == point).all(-1).nonzero()) for point in sample.x]
        assert len(set(places)) == 7
        torch.testing.assert_close(sample.u, whole[i].u[places])
    torch.testing.assert_close(data[1].x, given[1].x)
    assert not torch.equal(given[0].x, given[1].x)
    copy = pickle.loads(pickle.dumps(data))
    torch.testing.assert_close(copy[2].x, given[2].x)
    data.epoch.fill_(1)
    assert not torch.equal(data[1].x, given[1].x)
    batch = collate(given)
    assert batch.x.shape == (3, 7, 2) and batch.y.shape == (1, 30, 2)


def test_samples_in_memory_and_read_on_demand_are_the_same():
    for ds in (trajectories(), waves(4, (5, 6), (False, True))):
        held = FieldDataset(ds, schema_of(ds))
        lazy = FieldDataset(ds, schema_of(ds), memory_limit=0)
        assert held.in_memory and not lazy.in_memory
        for i in range(len(held)):
            for a, b in zip(held[i], lazy[i], strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_windows_of_a_file_are_read_without_xarray_and_equal_those_in_memory(tmp_path, monkeypatch):
    for number, ds in enumerate((trajectories(), waves(4, (5, 6), (False, True)))):
        write_dataset(ds, tmp_path / f"{number}.nc")
        opened = open_dataset(tmp_path / f"{number}.nc")
        held = FieldDataset(ds, schema_of(ds))
        lazy = FieldDataset(opened, schema_of(opened), memory_limit=0)
        assert len(lazy) == len(held) > 0 and not lazy.in_memory
        with monkeypatch.context() as patch:
            patch.setattr(xr.Variable, "isel", None)
            patch.setattr(xr.Variable, "__getitem__", None)
            window = lazy._read(1, slice(0, 1))
        for found, wanted in zip(window, held._read(1, slice(0, 1)), strict=True):
            np.testing.assert_array_equal(found, wanted)
        for i in range(len(held)):
            for a, b in zip(held[i], lazy[i], strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def the_well(path, trajectories=2):
    """A file of The Well: a scalar, a vector and a tensor, the last two with components last."""
    rng = np.random.default_rng(0)
    flags = {"sample_varying": True, "time_varying": True, "dim_varying": [True, True]}
    arrays = {"t0_fields/rho": (), "t1_fields/velocity": (2,), "t2_fields/D": (2, 2)}
    with h5py.File(path, "w") as file:
        file.attrs["n_trajectories"] = trajectories
        file.create_group("dimensions").attrs["spatial_dims"] = ["x", "y"]
        for name, n in (("time", 6), ("x", 4), ("y", 5)):
            file[f"dimensions/{name}"] = np.arange(n, dtype="f4")
        for name, tail in arrays.items():
            file[name] = rng.normal(size=(trajectories, 6, 4, 5, *tail)).astype("f4")
            file[name].attrs.update(flags)
            file[name].parent.attrs["field_names"] = [name.split("/")[1]]


@pytest.mark.parametrize("folder", [False, True])
def test_components_of_one_stored_array_are_read_at_once(tmp_path, monkeypatch, folder):
    for name in ("train/0.h5", "train/1.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        the_well(tmp_path / name)
    ds = open_dataset(tmp_path if folder else tmp_path / "train/0.h5")
    s = schema_of(ds, history=3)
    held = FieldDataset(ds, s)
    streamed = FieldDataset(ds, s, memory_limit=0)
    read = h5py.Dataset.__getitem__
    count = []
    streamed[0]  # opens the file
    with monkeypatch.context() as patch:
        patch.setattr(
            h5py.Dataset,
            "__getitem__",
            lambda self, key, **kw: count.append(self.name) or read(self, key, **kw),
        )
        streamed[4]
    assert sorted(count) == ["/t0_fields/rho", "/t1_fields/velocity", "/t2_fields/D"]
    assert s.inputs == ("rho", "velocity_x", "velocity_y", "D_xx", "D_xy", "D_yx", "D_yy")
    for i in range(len(held)):
        for a, b in zip(held[i], streamed[i], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    # (s n c) of the second trajectory.
    wanted = np.stack([ds[name][1, 1:4].values.reshape(3, -1) for name in s.inputs], -1)
    np.testing.assert_array_equal(held[4].u, np.moveaxis(wanted, 0, 1).reshape(20, -1))
    # Some of the components, in another order.
    few = {"inputs": ("D_yy", "rho", "D_xx"), "outputs": ("D_xx", "D_yy", "rho")}
    few = Schema(**{**s.__dict__, **few})
    u = FieldDataset(ds, few, memory_limit=0)[4].u
    np.testing.assert_array_equal(u, held[4].u[:, [6, 0, 3, 13, 7, 10, 20, 14, 17]])


def test_stride_keeps_stored_coordinates():
    ds = waves(2, (9, 8), (False, True))
    data = FieldDataset(ds, schema_of(ds, stride=2), stride=2)
    assert data.schema.grid == (5, 4)
    np.testing.assert_allclose(
        sorted({float(v) for v in data.shared_points[:, 0]}), ds.x.values[::2]
    )


def test_statistics_are_of_the_training_split_in_float64():
    ds = waves(6, (8,), (True,))
    ds["a"] = ds.a + 1e4
    data = FieldDataset(ds, schema_of(ds), indices=[0, 2, 5])
    mean, std = dataset_statistics(data)["a"][:2]
    truth = ds.a.values[[0, 2, 5]].astype(float)
    assert abs(mean - truth.mean()) < 1e-9 * 1e4
    assert abs(std / truth.std() - 1) < 1e-9


def test_the_split_in_the_file_is_used_and_random_splits_do_not_overlap():
    ds = waves(10, (8,), (True,))
    parts = split_indices(ds, validation=0.2, test=0.3, seed=1)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(10))
    assert [len(parts[k]) for k in ("train", "validation", "test")] == [5, 2, 3]
    recorded = ds.assign_coords(split=("sample", np.array([0, 0, 1, 2, 0, 0, 0, 0, 2, 0], "i1")))
    assert split_indices(recorded, validation=0.5, test=0.5, seed=0)["test"].tolist() == [3, 8]


def test_collate_shares_equal_points_and_pads_unequal_ones():
    def sample(n):
        x = torch.rand(n, 2, generator=torch.Generator().manual_seed(n))
        mask = torch.ones(n, dtype=torch.bool)
        return Sample(
            x, torch.ones(n, 1), mask, x, torch.ones(1, n, 1), mask, torch.zeros(1), torch.zeros(0)
        )

    shared = collate([sample(5), sample(5)])
    ragged = collate([sample(5), sample(3)])
    assert shared.x.shape == (1, 5, 2)
    assert ragged.x.shape == (2, 5, 2)
    assert ragged.x_mask.sum(1).tolist() == [5, 3]
    assert ragged.v[1, 0, :, 0].tolist() == [1, 1, 1, 0, 0]


def test_symmetries_move_points_and_not_values():
    ds = waves(2, (4, 4), (True, False))
    s = Schema(**{**schema((True, False)).__dict__, "homogeneous": (True, False)})
    batch = collate([FieldDataset(ds, s)[i] for i in range(2)])
    generators = [{"shift": ["x"]}, {"flip": ["y"], "negate": ["u"]}, {"permute": ["y", "x"]}]
    symmetry = Symmetry(s, generators)
    moved, sign = symmetry.element(batch, (False, True, True))
    torch.testing.assert_close(moved.x[..., 0], 1 - batch.x[..., 1])
    torch.testing.assert_close(moved.x[..., 1], batch.x[..., 0])
    torch.testing.assert_close(moved.u, batch.u)
    torch.testing.assert_close(moved.v, -batch.v)
    assert sign.tolist() == [-1.0]
    once, twice = (symmetry(batch, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(once.x, twice.x)
    assert ((once.x >= 0) & (once.x <= 1)).all()
    with pytest.raises(ValueError, match="not periodic"):
        Symmetry(s, [{"shift": ["y"]}])
    with pytest.raises(ValueError, match="known are"):
        Symmetry(s, [{"mirror": ["y"]}])
