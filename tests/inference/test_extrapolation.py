"""Inputs unlike those of the training are marked and reported once; others are not."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from problems import operator, waves

import fields
from fields.checkpoints.checkpoint import pretrained_files, read_header
from fields.core.sample import collate
from fields.data import FieldDataset, schema_of
from fields.data.novelty import (
    TrainingRange,
    dataset_inputs,
    evenly_spaced,
    input_statistics,
    parameter_ranges,
    statistic_names,
)
from fields.inference.extrapolation import ExtrapolationCheck, ExtrapolationWarning

X = np.arange(128) / 128


def profile(a: np.ndarray, x: np.ndarray = X) -> xr.Dataset:
    return xr.Dataset({"a": (("sample", "x"), np.atleast_2d(a))}, coords={"x": x})


def rows_of(ds: xr.Dataset, **options: object) -> FieldDataset:
    return FieldDataset(ds, schema_of(ds), **options)


def test_an_input_like_those_of_the_training_is_answered_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = fields.load("burgers").predict(profile(np.sin(2 * np.pi * X)))
    assert out.novelty.dims == ("sample",) and float(out.novelty[0]) < 0.5
    assert "extrapolation" not in out.attrs and list(out.data_vars) == ["u"]


@pytest.mark.parametrize(
    ("name", "a", "message"),
    [
        ("100 times the amplitude", 100 * np.sin(2 * np.pi * X), "of `a` is"),
        ("another mean", 3 + np.sin(2 * np.pi * X), "mean of `a` is 3, and the training had"),
        ("another wavelength", np.sin(40 * np.pi * X), "variation of `a` is 76.9"),
        ("a jump", np.where(X < 0.5, 4.0, 0.0), "mean of `a` is 2"),
    ],
)
def test_an_input_unlike_those_of_the_training_warns_once_and_marks_the_answer(name, a, message):
    usual = np.sin(2 * np.pi * X)
    ds = profile(np.stack([usual, a, usual]))
    with pytest.warns(ExtrapolationWarning) as caught:
        out = fields.load("burgers").predict(ds, batch_size=1)
    assert len(caught) == 1 and caught[0].filename == __file__
    text = str(caught[0].message)
    assert message in text
    assert "1 of 3 inputs are unlike those of the training: in sample 1" in text
    assert out.attrs["extrapolation"] == text
    assert list(out.novelty.values > 1) == [False, True, False]


def test_novelty_hardly_depends_on_the_resolution():
    model = fields.load("burgers")
    values = []
    for n in (64, 128, 500):
        x = np.arange(n) / n
        a = np.sin(2 * np.pi * x) + 0.3 * np.cos(6 * np.pi * x)
        values.append(float(model.predict(profile(a, x)).novelty[0]))
    assert max(values) - min(values) < 0.05


def test_a_grid_much_coarser_than_in_training_is_reported():
    x = np.arange(32) / 32
    with pytest.warns(ExtrapolationWarning, match="32 points along `x`, and the training grid had"):
        fields.load("burgers").predict(profile(np.sin(2 * np.pi * x), x))


def test_99_percent_of_the_validation_samples_are_inside():
    train = rows_of(waves(300, (32,), (True,), seed=1))
    validation = rows_of(waves(300, (32,), (True,), seed=2))
    seen = TrainingRange.of(train, validation)
    for rows in (train, validation):
        assert np.mean(seen.novelty(dataset_inputs(rows)) <= 1) >= 0.99
    assert seen.novelty(dataset_inputs(validation)).max() > 0.5  # the limit is not arbitrary
    tight = TrainingRange.of(train, train)
    assert tight.limit <= seen.limit


def test_statistics_are_those_of_numpy():
    ds = waves(3, (6, 5), (True, False))
    rows = rows_of(ds)
    batch = collate([rows[i] for i in range(3)])
    a = ds.a.values.astype(np.float64)
    along = np.abs(np.diff(np.concatenate([a, a[:, :1]], 1), axis=1)).sum(1).mean(1)
    across = np.abs(np.diff(a, axis=2)).sum(2).mean(1)
    flat = a.reshape(3, -1)
    expected = np.stack(
        [flat.mean(1), flat.std(1), flat.min(1), flat.max(1), along + across], axis=1
    )
    got = input_statistics(batch, rows.schema, (6, 5))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert np.isnan(input_statistics(batch, rows.schema, None)[:, -1]).all()
    spoiled = batch.u.clone()
    spoiled[:, 3] = torch.nan
    without = input_statistics(batch._replace(u=spoiled), rows.schema, (6, 5))
    kept = np.delete(flat, 3, axis=1)
    np.testing.assert_allclose(without[:, 0], kept.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(without[:, 1], kept.std(1), rtol=1e-5)


def test_parameters_outside_their_training_range_warn_with_the_numbers():
    model = operator((True,))
    ds = waves(2, (32,), (True,))
    model.schema = copy.copy(model.schema)
    object.__setattr__(model.schema, "params", ("Re",))
    rows = rows_of(ds)
    seen = TrainingRange.of(rows, rows)
    model.training_range = replace(seen, params={"Re": (50.0, 493.0)})
    check = ExtrapolationCheck(model, (32,))
    batch = collate([rows[i] for i in range(2)])
    check.add(batch._replace(params=torch.tensor([[50.0], [493.0]])))
    assert check.findings() == []
    check.add(batch._replace(params=torch.tensor([[60.0], [50000.0]])))
    assert check.findings() == [
        "The parameter `Re` is 50000 in sample 3, and the training had 50 to 493."
    ]


def test_ranges_of_parameters_are_those_of_the_samples():
    ds = waves(4, (8,), (True,)).assign(nu=("sample", [0.1, 0.5, 0.3, 9.0], {"role": "parameter"}))
    rows = rows_of(ds, indices=[0, 1, 2])
    assert parameter_ranges(rows)["nu"] == (pytest.approx(0.1), pytest.approx(0.5))


def test_the_range_survives_the_checkpoint_and_copies(tmp_path):
    model = operator((True,))
    rows = rows_of(waves(20, (32,), (True,)))
    model.training_range = TrainingRange.of(rows, rows)
    fields.save(model, tmp_path / "m.safetensors")
    loaded = fields.load(tmp_path / "m.safetensors")
    assert loaded.training_range == model.training_range
    assert fields.Ensemble([loaded, loaded]).training_range == model.training_range
    assert set(loaded.state_dict()) == set(operator((True,)).state_dict())
    fields.save(operator((True,)), tmp_path / "bare.safetensors")
    bare = fields.load(tmp_path / "bare.safetensors")
    assert bare.training_range is None
    assert "novelty" not in bare.predict(waves(2, (32,), (True,)))


@pytest.mark.parametrize(
    "wrong",
    [{"limit": 0.0}, {"scale": [-1.0]}, {"mean": []}, {"mean": [float("nan")]}],
)
def test_a_damaged_range_is_refused(wrong):
    good = {"params": {}, "names": ["mean of `a`"], "mean": [0.0], "scale": [1.0], "limit": 3.0}
    assert TrainingRange.from_dict(good).limit == 3.0
    with pytest.raises(ValueError, match="training range of the checkpoint"):
        TrainingRange.from_dict(good | wrong)


def test_a_model_trained_on_an_uneven_grid_may_be_given_it():
    ds = waves(4, (32,), (False,))
    stretched = ds.assign_coords(x=ds.x**2).assign_coords()
    stretched["x"].attrs.update(periodic=0, bounds=(0.0, 1.0))
    rows = rows_of(stretched)
    assert not evenly_spaced(rows) and evenly_spaced(rows_of(ds))
    assert TrainingRange.of(rows, rows).uneven and not TrainingRange.of(rows_of(ds), rows).uneven


def test_scattered_points_have_no_variation_and_no_novelty_from_it():
    x = np.random.default_rng(0).random((6, 20))
    dims = ("sample", "point")
    ds = xr.Dataset(
        {
            "a": (dims, np.sin(6 * x), {"role": "input"}),
            "u": (dims, np.cos(6 * x), {"role": "output"}),
        },
        coords={"x": (dims, x)},
    )
    rows = rows_of(ds)
    seen = TrainingRange.of(rows, rows)
    assert all(np.isfinite([*seen.mean, *seen.scale, seen.limit]))
    assert json.loads(json.dumps(seen.to_dict()))["names"] == list(statistic_names(rows.schema))
    assert seen.novelty(dataset_inputs(rows)).max() <= 1


@pytest.mark.parametrize("path", pretrained_files(), ids=lambda path: path.stem)
def test_every_shipped_model_keeps_its_training_range(path):
    header = read_header(path)
    seen = TrainingRange.from_dict(header["training_range"])
    schema = fields.load(path.stem).schema
    assert seen.names == statistic_names(schema) and not seen.params
    assert seen.limit > 1


def test_an_answer_that_is_not_finite_is_refused_and_a_divergence_reported():
    model = fields.load("heat")
    check = ExtrapolationCheck(model, (64,))
    rows = rows_of(waves(2, (4,), (True,)))
    batch = collate([rows[i] for i in range(2)])._replace(t=torch.tensor([[0.1, 0.2, 0.3]] * 2))
    values = torch.zeros(2, 3, 4, 1)
    check.add_answer(values, batch)
    values[1, 2, 0] = torch.inf
    check.add_answer(values, batch)
    assert check.findings()[-1].startswith("The rollout diverges: it is not finite from time 0.3")
    values[1, 0, 0] = torch.nan
    with pytest.raises(fields.DataError, match="not finite"):
        check.add_answer(values, batch)


def test_training_measures_the_range(tmp_path, monkeypatch):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import train

    monkeypatch.chdir(tmp_path)
    split = ("sample", np.repeat(np.int8([0, 1, 2]), (8, 2, 2)))
    ds = waves(12, (32,), (True,)).assign_coords(split=split)
    fields.write_dataset(ds, "mine.h5")
    words = "--data.path=mine.h5 --data.stride=1 --data.test_strides=[1] --model.dim=32 "
    words += "--trainer.max_epochs=1 --trainer.accelerator=cpu --run.baseline=false --run.name=r "
    words += "--trainer.enable_progress_bar=false --data.batch_size=4"
    train.main(words.split())
    seen = fields.load("runs/r").training_range
    rows = rows_of(ds, indices=np.arange(8))
    np.testing.assert_allclose(seen.mean, dataset_inputs(rows).mean(0), rtol=1e-5, atol=1e-6)
