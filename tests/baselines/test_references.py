"""Nearest neighbor and linear regression predict what their equations say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import schema, travelling, waves

from fields.baselines.linear_regression import LinearRegression
from fields.baselines.nearest_neighbor import NearestNeighbor
from fields.baselines.stepwise import fit_linear_step
from fields.core.sample import collate
from fields.data import FieldDataset
from fields.data.normalizer import Normalizer
from fields.data.schema import schema_of
from fields.data.statistics import dataset_statistics


def problem(samples: int, sizes: tuple[int, ...] = (6, 5), seed: int = 0):
    periodic = (False,) * len(sizes)
    s = schema(periodic)
    data = FieldDataset(waves(samples, sizes, periodic, seed), s)
    given = {"schema": s, "normalizer": Normalizer(s, dataset_statistics(data))}
    return data, given, collate([data[i] for i in range(samples)])


def test_the_nearest_neighbor_is_that_of_a_search_over_all_pairs():
    data, given, batch = problem(30)
    fresh = problem(12, seed=1)[2]
    model = NearestNeighbor.fit(data, **given)
    distance = (fresh.u[:, None] - batch.u[None]).square().sum((2, 3))
    torch.testing.assert_close(model(fresh), batch.v[distance.argmin(1)], atol=1e-5, rtol=0)
    torch.testing.assert_close(model(batch), batch.v, atol=1e-5, rtol=0)


def test_a_parameter_weighs_as_much_as_a_whole_function():
    """Of two samples with inputs 0 and 1 and parameters 0 and 1.5, the parameter decides."""
    ds = travelling(2, 2)
    s = schema_of(ds)
    data = FieldDataset(ds, s)
    units = {name: (0.0, 1.0) for name in ("u", "w", "c", "nu")}
    given = {"schema": s, "normalizer": Normalizer(s, units)}
    pair = [data[i] for i in range(2)]
    rows = [
        row._replace(u=torch.full_like(row.u, i), v=torch.full_like(row.v, i), params=1.5 * value)
        for i, (row, value) in enumerate(zip(pair, torch.eye(2)[:, :1].flip(0), strict=True))
    ]
    model = NearestNeighbor.fit(rows, **given)
    asked = collate([rows[0]])
    assert model(asked._replace(u=asked.u + 0.6)).unique() == 0  # 3 · 0.36 < 3 · 0.16 + 1.5²


def test_linear_regression_agrees_with_least_squares_where_that_is_unique():
    """With a positive λ so small that 200 samples of 30 inputs determine the weights."""
    data, given, batch = problem(200)
    random = torch.Generator().manual_seed(0)
    u = torch.randn(batch.u.shape, generator=random)
    v = u @ torch.ones(1, 1) + 0.1 * torch.randn(u.shape, generator=random)
    rows = [
        row._replace(u=one, v=target[None])
        for row, one, target in zip([data[i] for i in range(200)], u, v, strict=True)
    ]
    model = LinearRegression.fit(rows, **given)
    a = np.concatenate([u[..., 0].double().numpy(), np.ones((200, 1))], axis=1)
    weights, *_ = np.linalg.lstsq(a, v[..., 0].double().numpy(), rcond=None)
    found = model(collate(rows))[:, 0, :, 0].double().numpy()
    assert np.linalg.norm(found - a @ weights) < 0.02 * np.linalg.norm(v)


def test_a_linear_operator_is_learned_and_a_nonlinear_one_is_not():
    data, given, _ = problem(60)
    fresh = problem(20, seed=1)[2]
    errors = {}
    for name, power in (("linear", 1), ("square", 2)):
        rows = [
            row._replace(v=(row.u.flip(0) ** power)[None]) for row in (data[i] for i in range(60))
        ]
        v = (fresh.u.flip(1) ** power)[:, None]
        found = LinearRegression.fit(rows, **given)(fresh)
        errors[name] = float((found - v).norm() / v.norm())
    assert errors["linear"] < 1e-3 and errors["square"] > 0.1


@pytest.mark.parametrize("dims", [1, 2])
def test_linear_steps_roll_out_a_linear_equation(dims):
    """Travelling waves: 30 trajectories determine the step, which is then applied 12 times."""
    ds = travelling(40, 13, n=8, dims=dims)
    s = schema_of(ds)
    train = FieldDataset(ds.isel(sample=slice(0, 30)), s, horizon=1)
    test = FieldDataset(ds.isel(sample=slice(30, 40)), s, horizon=None)
    normalizer = Normalizer(s, dataset_statistics(train))
    model = fit_linear_step(train, schema=s, normalizer=normalizer)
    # Speeds enter as a product with the state, so only trajectories of one speed are linear.
    batch = collate([test[i] for i in range(10)])
    same = batch.params[:, 0] == 0.25
    one = FieldDataset(ds.isel(sample=np.flatnonzero(ds.nu.values[:30] == 0.25)), s, horizon=1)
    exact = fit_linear_step(one, schema=s, normalizer=normalizer)
    batch = batch._replace(u=batch.u[same], v=batch.v[same], t=batch.t[same])
    batch = batch._replace(params=batch.params[same])
    error = [(m(batch) - batch.v)[:, -1].norm() / batch.v[:, -1].norm() for m in (exact, model)]
    assert error[0] < 1e-3 < error[1]


def test_other_points_than_those_of_the_training_are_refused_in_a_step():
    ds = travelling(8, 4, n=8)
    s = schema_of(ds)
    data = FieldDataset(ds, s, horizon=1)
    model = fit_linear_step(data, schema=s, normalizer=Normalizer(s, dataset_statistics(data)))
    batch = collate([data[0]])
    moved = batch._replace(x=batch.x + 0.03, y=batch.x + 0.03)
    with pytest.raises(ValueError, match="LinearRegression reads 8 fixed sensors"):
        model(moved)
