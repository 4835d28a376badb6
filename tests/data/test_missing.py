"""NaN on a grid is a missing value where it is constant or declared; all else is refused."""

import numpy as np
import pytest
import torch
import xarray as xr

import fields
from fields.checkpoints.checkpoint import load, save
from fields.core.sample import collate
from fields.data import FieldDataset, dataset_statistics, schema_of
from fields.data.datamodule import FieldDataModule
from fields.data.missing import FiniteCheck, check_values
from fields.io import DataError
from fields.metrics.losses import relative_l2
from fields.training.task import FieldTraining

X = np.linspace(0, 1, 8)
Y = np.linspace(0, 1, 6)
LAND = np.zeros((8, 6), bool)
LAND[2:4, 1:5] = True
SPLIT = np.array([0] * 8 + [1, 1, 2, 2], "i1")


def sea(inputs=False, outputs=True, declared=False):
    """Twelve samples of a and u over (x, y), with land in the one or the other."""
    random = np.random.default_rng(0)
    a = random.normal(size=(12, 8, 6))
    u = a + 3
    if inputs:
        a[:, LAND] = np.nan
    if outputs:
        u[:, LAND] = np.nan
    dims = ("sample", "x", "y")
    more = {"missing": 1} if declared else {}
    return xr.Dataset(
        {"a": (dims, a, {"role": "input"} | more), "u": (dims, u, {"role": "output"} | more)},
        coords={"x": X, "y": Y, "split": ("sample", SPLIT)},
    )


def flow(land=True):
    """Six trajectories of a state with land."""
    u = np.random.default_rng(1).normal(size=(6, 5, 8, 6))
    if land:
        u[:, :, LAND] = np.nan
    split = np.array([0, 0, 0, 0, 1, 2], "i1")
    return xr.Dataset(
        {"u": (("sample", "time", "x", "y"), u, {"role": "state"})},
        coords={"x": X, "y": Y, "time": np.arange(5.0), "split": ("sample", split)},
    )


def module(ds, folder, **options):
    fields.write_dataset(ds, folder / "d.h5")
    data = FieldDataModule(str(folder / "d.h5"), batch_size=4, **options)
    data.setup()
    return data


def model_for(data):
    torch.manual_seed(0)
    return FieldTraining(dim=16).compose(data.schema, data.normalizer()).eval()


def test_land_is_masked_and_the_mask_is_shared(tmp_path):
    data = module(sea(inputs=True), tmp_path)
    batch = collate([data.train[i] for i in range(4)])
    assert batch.x.shape == (1, 48, 2) and batch.x_mask.shape == batch.y_mask.shape == (1, 48)
    np.testing.assert_array_equal(batch.x_mask[0], ~LAND.ravel())
    assert all(part.isfinite().all() for part in batch)
    # Statistics are those of the points that have a value.
    wet = data.train.ds["u"].values[:8][:, ~LAND]
    assert data.statistics["u"].mean == pytest.approx(wet.mean())
    assert data.statistics["u"].std == pytest.approx(wet.std())


def test_the_loss_does_not_see_land(tmp_path):
    data = module(sea(inputs=True), tmp_path)
    model = model_for(data)
    batch = collate([data.train[i] for i in range(4)])
    other = batch._replace(
        u=batch.u + 100 * ~batch.x_mask[..., None],
        v=torch.where(batch.y_mask[:, None, :, None], batch.v, torch.nan),
    )
    errors = [relative_l2(model(b), b.v, b.y_mask) for b in (batch, other)]
    assert errors[0].isfinite().all()
    torch.testing.assert_close(*errors, rtol=0, atol=0)


@pytest.mark.parametrize("inputs", [False, True])
def test_predictions_are_nan_on_land_at_every_resolution(tmp_path, inputs):
    ds = sea(inputs=inputs)
    data = module(ds, tmp_path)
    save(model_for(data), tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors")
    own = model.predict(ds[["a"]])["u"].values
    np.testing.assert_array_equal(np.isnan(own), np.broadcast_to(LAND, own.shape))
    fine = model.predict(ds[["a"]], at={"x": np.linspace(0, 1, 15), "y": np.linspace(0, 1, 11)})
    assert np.isnan(fine["u"].values[:, 5:7, 4:8]).all()
    assert np.isfinite(fine["u"].values[:, :3]).all()
    # At the points of the grid both are the same.
    np.testing.assert_allclose(fine["u"].values[:, ::2, ::2], own, atol=1e-5)


def test_a_prediction_refuses_nan_where_the_training_data_had_values(tmp_path):
    ds = sea(inputs=True)
    model = model_for(module(ds, tmp_path))
    spoiled = ds.copy(deep=True)
    spoiled.a[3, 7, 5] = np.nan
    with pytest.raises(DataError, match=r"'a' is not finite at {'sample': 3, 'x': 7, 'y': 5}"):
        model.predict(spoiled)
    spoiled.a[3, 7, 5] = 0
    spoiled.a[3, 3, 3] = np.inf
    with pytest.raises(DataError, match="is not finite"):
        model.predict(spoiled)
    complete = model_for(module(sea(outputs=False), tmp_path))
    with pytest.raises(DataError, match="is not finite at"):
        complete.predict(ds)


def test_missing_values_that_differ_among_samples_are_declared(tmp_path):
    ds = sea(inputs=True, declared=True)
    ds.a[2, 6, 0] = np.nan
    ds.u[2, 7, 0] = np.nan
    data = module(ds, tmp_path)
    batch = collate([data.train[i] for i in range(4)])
    assert batch.x.shape == (1, 48, 2) and batch.x_mask.shape == batch.y_mask.shape == (4, 48)
    assert not batch.x_mask[2, 36] and batch.x_mask[1, 36]
    assert not batch.y_mask[2, 42] and batch.y_mask[1, 42]
    model = model_for(data)
    one = collate([data.train[2]])
    together = model(batch)[2]
    torch.testing.assert_close(together, model(one)[0], rtol=1e-4, atol=1e-5)
    assert np.isnan(model.predict(ds).u.values[2, 7, 0])


def test_states_share_one_mask_per_window(tmp_path):
    ds = flow()
    data = module(ds, tmp_path, horizon=2)
    batch = collate([data.train[i] for i in range(4)])
    assert torch.equal(batch.x_mask, batch.y_mask) and batch.x_mask.shape == (1, 48)
    model = model_for(data)
    assert model(batch).isfinite().all()
    out = model.predict(ds.isel(sample=[0], time=[0]), times=[1.0, 2.5])["u"].values
    np.testing.assert_array_equal(np.isnan(out), np.broadcast_to(LAND, out.shape))


def spoil(ds, name, index, value):
    values = ds[name].values.copy()
    values[index] = value
    return ds.assign({name: ds[name].copy(data=values)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample", [0, 5, 9, 11], ids=["first", "training", "validation", "test"])
@pytest.mark.parametrize("name", ["a", "u"])
def test_one_bad_value_is_refused_with_its_place(tmp_path, name, sample, value):
    ds = spoil(sea(outputs=False), name, (sample, 4, 2), value)
    with pytest.raises(DataError) as caught:
        module(ds, tmp_path)
    assert f"`{name}`" in str(caught.value) and "x 4, y 2" in str(caught.value)
    if sample:
        assert f"sample {sample}" in str(caught.value)


def test_one_bad_value_beside_land_is_refused(tmp_path):
    with pytest.raises(DataError, match="`u` is nan at sample 9, x 0, y 0, where sample 0 has a"):
        module(spoil(sea(), "u", (9, 0, 0), np.nan), tmp_path)
    with pytest.raises(DataError, match="`u` has a value at sample 5, x 2, y 1, where sample 0"):
        module(spoil(sea(), "u", (5, 2, 1), 1.0), tmp_path)


def test_a_bad_frame_and_a_bad_parameter_are_refused(tmp_path):
    with pytest.raises(DataError, match="`u` is nan at sample 3, time 4, x 0, y 0"):
        module(spoil(flow(), "u", (3, 4, 0, 0), np.nan), tmp_path)
    ds = sea().assign(nu=("sample", np.where(np.arange(12) == 9, np.inf, 1.0)))
    ds["nu"].attrs["role"] = "parameter"
    with pytest.raises(DataError, match="`nu` is inf at sample 9"):
        module(ds, tmp_path)


@pytest.mark.parametrize("sample, value", [(5, 1e20), (5, 1e300)])
def test_a_value_whose_square_overflows_is_refused(tmp_path, sample, value):
    with pytest.raises(DataError, match=rf"`u` is 1e\+\d+ at sample {sample}"):
        module(spoil(sea(), "u", (sample, 0, 0), value), tmp_path)


def test_trajectories_that_end_early_may_be_nan_afterwards():
    ds = flow(land=False)
    times = np.broadcast_to(np.arange(5.0), (6, 5)).copy()
    times[2, 3:] = np.nan
    ds = spoil(ds, "u", (2, slice(3, None)), np.nan)
    ds = ds.assign_coords(sample_time=(("sample", "time"), times))
    data = FieldDataset(ds, schema_of(ds))
    dataset_statistics(data)
    with pytest.raises(DataError, match="`u` is nan at sample 1, time 4"):
        spoiled = spoil(ds, "u", (1, 4, 0, 0), np.nan)
        dataset_statistics(FieldDataset(spoiled, schema_of(spoiled)))


def test_the_check_is_repeated_only_when_the_file_changes(tmp_path, monkeypatch):
    ds = sea()
    module(ds, tmp_path)

    def refuse(*_):
        raise AssertionError("the values are read again")

    with monkeypatch.context() as patch:
        patch.setattr("fields.data.statistics.iter_chunks", refuse)
        patch.setattr("fields.data.missing.iter_chunks", refuse)
        FieldDataModule(str(tmp_path / "d.h5"), batch_size=4).setup()
    with pytest.raises(DataError, match="sample 9"):
        module(spoil(ds, "u", (9, 0, 0), np.nan), tmp_path)


def test_values_are_checked_where_they_are_used():
    variable = xr.Variable(("sample", "x"), np.arange(12.0).reshape(2, 6))
    variable[1, 3] = np.nan
    check = FiniteCheck.of("u", variable, reference=0, strides={"x": slice(None, None, 2)})
    check_values(check, variable, np.arange(2))
    variable[1, 4] = np.nan
    with pytest.raises(DataError, match="x 4"):
        check_values(check, variable, np.arange(2))
