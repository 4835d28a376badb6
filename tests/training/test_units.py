"""Trainings do not depend on the units of the variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from problems import travelling, waves

import fields
from fields.data.datamodule import FieldDataModule
from fields.encoders.windowed_moments import WindowedMoments
from fields.metrics.losses import VariableError, output_relative_l2, relative_l2
from fields.training.fit import fit
from fields.training.objective import Objective
from fields.training.task import FieldTraining

QUICK = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
ALL = torch.ones(1, 8, dtype=torch.bool)


def static() -> xr.Dataset:
    """Two outputs, one of them with a mean that is large beside its variation."""
    ds = waves(24, (16,), (True,))
    return ds.assign(p=(ds.u.dims, (40 + np.tanh(ds.a.values)).astype("f8"), {"role": "output"}))


def trained(folder: Path, ds: xr.Dataset, factors: dict[str, float], **options) -> FieldTraining:
    """A task after two epochs of four steps on the dataset in other units."""
    ds = ds.assign({n: (ds[n].dims, ds[n].values * f, ds[n].attrs) for n, f in factors.items()})
    fields.write_dataset(ds, folder / "data.h5")
    torch.manual_seed(0)
    task = FieldTraining(
        dim=16,
        encoder=lambda dim, schema: WindowedMoments(dim, schema, tokens=(4,)),
        objective=Objective(deltas=1.0, cycle=0.1, noise=0.01),
        queries=8,
        **options,
    )
    horizon = 3 if "time" in ds.dims else 1
    data = FieldDataModule(str(folder / "data.h5"), batch_size=5, horizon=horizon)
    fit(task, data, folder / "run", max_epochs=2, limit_train_batches=4, **QUICK)
    return task


def curve(task: FieldTraining) -> np.ndarray:
    return np.array([[row["loss"], row["val_error"]] for row in task.history])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("ds", "one", "other"), [(static, "u", "p"), (travelling, "u", "w")], ids=["static", "in time"]
)
def test_a_change_of_units_changes_neither_losses_nor_weights(ds, one, other, tmp_path):
    ds = ds() if ds is static else ds(samples=24)
    first = trained(tmp_path, ds, {one: 1.0, other: 1.0})
    assert curve(first).shape == (2, 2) and np.isfinite(curve(first)).all()
    # Powers of two: every number is the same to the last bit.
    same = trained(tmp_path, ds, {one: 2.0**-20, other: 2.0**10})
    assert curve(same).tolist() == curve(first).tolist()
    learned = {k: v for k, v in first.model.named_parameters()}
    assert all(torch.equal(v, learned[k]) for k, v in same.model.named_parameters())
    # Others: up to rounding.
    for factors in ({one: 1e-6, other: 1e5}, {one: 1e20, other: 3e-7}):
        near = trained(tmp_path, ds, factors)
        np.testing.assert_allclose(curve(near), curve(first), rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_one_output_of_any_size_is_learned_alike(tmp_path):
    ds = waves(24, (16,), (True,))
    first = curve(trained(tmp_path, ds.astype("f8"), {"u": 1.0}))
    for factor in (1e-30, 1e20, 1e30):  # squares in single precision end at 1e38
        np.testing.assert_allclose(
            curve(trained(tmp_path, ds.astype("f8"), {"u": factor})), first, rtol=1e-3
        )


@pytest.mark.filterwarnings("ignore")
def test_weights_by_name_reach_the_loss(tmp_path):
    plain = curve(trained(tmp_path, static(), {}))
    assert curve(trained(tmp_path, static(), {}, weights={"p": 1.0})).tolist() == plain.tolist()
    assert curve(trained(tmp_path, static(), {}, weights={"p": 9.0})).tolist() != plain.tolist()


def test_one_variable_has_the_relative_l2_to_the_last_bit():
    torch.manual_seed(0)
    v = torch.randn(5, 3, 8, 1)
    error = VariableError(["u"], {"u": (7.0, 0.3)})
    gradients = []
    for measure in (error, relative_l2):
        v_hat = (v + 0.1).requires_grad_()
        measure(v_hat, v, ALL).mean().backward()
        gradients.append(v_hat.grad)
    assert torch.equal(error(v + 0.1, v, ALL), relative_l2(v + 0.1, v, ALL))
    assert torch.equal(*gradients)
    assert torch.equal(relative_l2(v + 0.1, v, ALL), plain_ratio(v + 0.1, v))


def plain_ratio(v_hat: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    def norm(values: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(values, dim=(2, 3))

    return (norm(v_hat - v) / norm(v)).mean(1)


def test_an_error_of_one_deviation_counts_the_same_whatever_the_mean():
    statistics = {"u": (0.0, 1.0), "T": (300.0, 2.0)}
    error = VariableError(["u", "T"], statistics)
    torch.manual_seed(0)
    v = torch.randn(4, 1, 8, 2) * torch.tensor([1.0, 2.0]) + torch.tensor([0.0, 300.0])
    v[..., 0] *= 8**0.5 / v[..., 0].norm(dim=2, keepdim=True)
    wrong_u = error(v + torch.tensor([0.1, 0.0]), v, ALL)
    wrong_t = error(v + torch.tensor([0.0, 0.2]), v, ALL)
    torch.testing.assert_close(wrong_t, wrong_u, rtol=0.02, atol=0)
    plain = output_relative_l2(v + torch.tensor([0.0, 0.2]), v, ALL)[:, 0, 1]
    assert (wrong_t > 50 * plain).all()  # its relative error alone would hardly count


def test_a_variable_that_vanishes_in_a_sample_does_not_dominate():
    error = VariableError(["u", "w"], {"u": (0.0, 1.0), "w": (0.0, 1.0)})
    v = torch.ones(1, 1, 8, 2) * torch.tensor([1.0, 1e-12])
    off = torch.tensor([0.0, 0.01])
    assert error(v + off, v, ALL).item() == pytest.approx(0.05, rel=1e-3)
    still = v.expand(1, 3, 8, 2)
    assert error.changes(still + off, still, ALL).item() == 0
    moved = still + off * torch.arange(3.0)[:, None, None]
    assert error.changes(moved, still, ALL).item() < 6


def test_a_zero_truth_is_measured_in_standard_deviations():
    for unit in (1.0, 1e-12, 1e25):
        error = VariableError(["u"], {"u": (0.0, 2 * unit)})
        zero = torch.zeros(1, 1, 8, 1)
        assert error(zero + unit, zero, ALL).item() == pytest.approx(8**0.5 / 2)


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"q": 1.0}, "'q'"), ({"u": -1.0}, "negative"), ({"u": 0.0}, "positive"),
     ({"u": float("nan")}, "finite")],
)  # fmt: skip
def test_weights_that_cannot_be_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        VariableError(["u"], {"u": (0.0, 1.0)}, weights)
