"""Properties of single baselines: exactness, invariances, and what they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import schema, waves
from scipy.interpolate import RegularGridInterpolator

from fields.baselines.base import interpolate_linear
from fields.baselines.deeponet import DeepONet
from fields.baselines.kernel_ridge import KernelRidge, matern52
from fields.baselines.pca_net import PCANet
from fields.baselines.transolver import Transolver
from fields.baselines.trivial import MeanField, MeanValue, Persistence
from fields.baselines.unet import UNet
from fields.core.sample import Sample, collate
from fields.data import FieldDataset
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.nn.interpolation.multilinear import multilinear

CIRCLE = (True,)
PLANE = (False, False)


def problem(periodic, sizes, samples=20):
    s = schema(periodic)
    data = FieldDataset(waves(samples, sizes, periodic), s)
    return (
        data,
        {"schema": s, "normalizer": Normalizer(s, dataset_statistics(data))},
        collate([data[i] for i in range(len(data))]),
    )


def test_multilinear_agrees_with_scipy_and_wraps_periodic_axes():
    random = np.random.default_rng(0)
    axes = [np.sort(random.random(n)) - 0.5 for n in (5, 7)]
    y = random.random((50, 2)) - 0.5
    values = random.normal(size=(5, 7, 2))
    inside = np.clip(y, [a[0] for a in axes], [a[-1] for a in axes])
    expected = RegularGridInterpolator(axes, values)(inside)
    lines = [torch.tensor(a) for a in axes]
    out = multilinear(torch.tensor(values)[None], lines, torch.tensor(y), (False, False))[0]
    np.testing.assert_allclose(out, expected, atol=1e-12)
    line = multilinear(
        torch.tensor(values[:, 0])[None], lines[:1], torch.tensor(y[:, :1]), (True,)
    )[0]
    np.testing.assert_allclose(
        line[:, 0], np.interp(y[:, 0], axes[0], values[:, 0, 0], period=1.0), atol=1e-12
    )


def test_linear_interpolation_between_scattered_points_is_exact_for_linear_fields():
    x = torch.rand(2, 60, 2).double() - 0.5
    y = 0.2 * (torch.rand(2, 30, 2).double() - 0.5)
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 40:] = False
    values = (x @ torch.tensor([1.0, 2.0]).double())[..., None].masked_fill(~mask[..., None], 1e6)
    expected = (y @ torch.tensor([1.0, 2.0]).double())[..., None]
    torch.testing.assert_close(
        interpolate_linear(values, x, y, PLANE, mask), expected, atol=1e-12, rtol=0
    )


def first_points(batch: Sample, count: int) -> Sample:
    """The batch given and asked at its first points only."""
    x, u, x_mask, y = (part[:, :count] for part in (batch.x, batch.u, batch.x_mask, batch.y))
    return batch._replace(x=x, u=u, x_mask=x_mask, y=y)


def test_periodic_unet_commutes_with_shifts_by_cells_of_the_coarsest_grid():
    _, given, batch = problem(CIRCLE, (32,))
    model = UNet(**given, width=4, levels=2).eval()
    with torch.no_grad():
        moved = model(batch._replace(u=batch.u.roll(4, dims=1)))
        torch.testing.assert_close(moved, model(batch).roll(4, dims=2), atol=1e-5, rtol=0)
        odd = model(first_points(batch, 27))
    assert odd.shape == (20, 1, 27, 1)
    with pytest.raises(ValueError, match="needs at least 4 points per axis"):
        model(first_points(batch, 3))


def test_deeponet_interpolates_to_its_sensors_once_they_are_known():
    _, given, batch = problem(CIRCLE, (12,))
    with pytest.raises(ValueError, match="built for 8 fixed sensors, got 12 points"):
        DeepONet(**given)(batch)
    model = DeepONet(**given, count=12, width=16)
    with torch.no_grad():
        out = model(batch)
        fine = problem(CIRCLE, (24,))[2]  # the same functions at every other point, exactly
        with pytest.warns(UserWarning, match="reads 12 fixed sensors"):
            torch.testing.assert_close(model(fine)[:, :, ::2], out, atol=1e-5, rtol=0)


def test_pca_bases_are_orthonormal_and_represent_smooth_data():
    data, given, batch = problem(CIRCLE, (16,))
    model = PCANet.fit(data, **given, components=15)
    gram = model.given.directions @ model.given.directions.mT
    rank = int(gram.diagonal().round().sum())
    torch.testing.assert_close(
        gram, torch.diag((torch.arange(15) < rank).float()), atol=1e-4, rtol=0
    )
    assert 2 <= rank <= 5  # three waves of one or two turns
    rows = model.sensor_inputs(batch) - model.given.mean
    kept = rows @ model.given.directions.mT @ model.given.directions
    assert (kept - rows).norm() < 1e-3 * rows.norm()
    coefficients = rows @ model.given.directions[:2].mT / model.given.spread[:2]
    torch.testing.assert_close(coefficients.square().mean(0), torch.ones(2), atol=1e-3, rtol=0)


def deviation_from_affine(model, batch):
    """Largest deviation of the MLP inputs from affine, and of predictions from the output basis."""
    rows = model.sensor_inputs(batch)
    seen = []
    model.net.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        v = model(batch)
        model(batch._replace(u=0.3 * batch.u + 0.7 * batch.u.roll(1, 0)))
    mixed = 0.3 * seen[0] + 0.7 * seen[0].roll(1, 0)
    out = model.normalizer.outputs_mean + model.normalizer.outputs_std * model.asked.mean
    left = (v.flatten(1) - out) / model.normalizer.outputs_std
    outside = left - left @ model.asked.directions.mT @ model.asked.directions
    assert rows.std() > 0.1 and left.std() > 1e-2
    return float((seen[1] - mixed).abs().max()), float(outside.abs().max())


def test_pca_net_is_affine_before_and_after_its_mlp(monkeypatch):
    torch.manual_seed(0)
    data, given, batch = problem(CIRCLE, (16,))
    model = PCANet.fit(data, **given, components=6)
    before, after = deviation_from_affine(model, batch)
    assert before < 1e-3 and after < 1e-4
    linear = PCANet.sensor_inputs  # the test fails for a nonlinear input
    monkeypatch.setattr(PCANet, "sensor_inputs", lambda self, batch: linear(self, batch).tanh())
    assert deviation_from_affine(model, batch)[0] > 0.01
    monkeypatch.undo()
    decode = PCANet.decode_sensors  # and for a nonlinear output
    monkeypatch.setattr(
        PCANet, "decode_sensors", lambda self, v, batch: decode(self, v + 0.1 * v.square(), batch)
    )
    assert deviation_from_affine(model, batch)[1] > 1e-3


def test_kernel_ridge_learns_and_the_leave_one_out_formula_is_exact():
    data, given, _ = problem(CIRCLE, (16,), samples=200)
    fresh = collate([data[i] for i in range(160, 200)])
    part = FieldDataset(data.ds.isel(sample=range(160)), given["schema"])
    with torch.no_grad():
        answers = {cls: cls.fit(part, **given)(fresh) for cls in (KernelRidge, MeanField)}
    errors = {cls: float((out - fresh.v).norm() / fresh.v.norm()) for cls, out in answers.items()}
    assert errors[KernelRidge] < 0.5 * errors[MeanField]
    points = torch.randn(9, 3).double()
    kernel = matern52(torch.cdist(points, points)) + 0.1 * torch.eye(9)
    values = torch.randn(9, 1).double()
    shortcut = (torch.linalg.solve(kernel, values)[:, 0] / torch.linalg.inv(kernel).diagonal())[4]
    rest = [i for i in range(9) if i != 4]
    direct = (
        values[4, 0]
        - kernel[4, rest] @ torch.linalg.solve(kernel[rest][:, rest], values[rest])[:, 0]
    )
    torch.testing.assert_close(shortcut, direct)


def test_transolver_ignores_padding_and_commutes_with_permutations():
    _, given, batch = problem(PLANE, (6, 5))
    model = Transolver(**given, width=16).eval()
    pad = batch._replace(
        x=torch.cat([batch.x, torch.rand(1, 4, 2)], 1),
        u=torch.cat([batch.u, 1e3 * torch.ones(20, 4, 1)], 1),
        x_mask=torch.cat([batch.x_mask, torch.zeros(1, 4, dtype=torch.bool)], 1),
    )
    order = torch.randperm(30)
    with torch.no_grad():
        out = model(batch)
        torch.testing.assert_close(model(pad._replace(y=pad.x))[:, :, :30], out, atol=1e-5, rtol=0)
        moved = model(batch._replace(x=batch.x[:, order], y=batch.x[:, order], u=batch.u[:, order]))
        torch.testing.assert_close(moved, out[:, :, order], atol=1e-5, rtol=0)


def test_trivial_predictors():
    data, given, batch = problem(PLANE, (6, 5))
    out = MeanField.fit(data, **given)(batch)
    torch.testing.assert_close(
        out, batch.v.mean(0, keepdim=True).expand_as(batch.v), atol=1e-5, rtol=0
    )
    value = MeanValue(**given)(batch._replace(y=torch.rand(1, 7, 2), t=torch.zeros(20, 3)))
    assert value.shape == (20, 3, 7, batch.v.shape[-1])
    torch.testing.assert_close(value, batch.v.mean((0, 1, 2)).expand_as(value), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="Use `MeanField`"):
        Persistence(**given)
    s = schema(PLANE)
    state = type(s)(
        **{**s.to_dict(), "inputs": ("a", "u"), "outputs": ("u",), "dt": 0.1, "history": 2}
    )
    frames = torch.randn(20, 30, 4)
    model = Persistence(schema=state, normalizer=Normalizer(state, {"a": (1, 2), "u": (3, 4)}))
    torch.testing.assert_close(model(batch._replace(u=frames))[:, 0, :, 0], frames[..., 3])
