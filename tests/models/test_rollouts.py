"""Measured rollouts and stepwise baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import fields
from fields.baselines.base import InputPointOperator
from fields.baselines.stepwise import Stepwise
from fields.baselines.unet import UNet
from fields.core.sample import Sample
from fields.evaluation.metric_set import BLOW_UPS, CORRELATION_TIME, TRAJECTORY_ERROR
from fields.evaluation.rollouts import measure_rollouts, report_steps
from fields.models.base import Operator


class Factor(Operator):
    """The truth times a factor that grows with the step."""

    def forward(self, batch: Sample) -> Tensor:
        steps = torch.arange(1, batch.v.shape[1] + 1)[None, :, None, None]
        return batch.v * (1 + 0.1 * steps)


class Shift(InputPointOperator):
    """G = 1 everywhere: each frame one standard deviation above the last."""

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        return torch.ones(*batch.u.shape[:2], 2)


def _power(batches: list[Sample]) -> np.ndarray:
    """Mean c u² of the truth over the root mean square of its first values.

    c is the third input channel.
    """
    values = torch.cat([(b.u[:, None, :, 2] * b.v[..., 0] ** 2).mean(-1) for b in batches]).double()
    return (values / values[:, 0].square().mean().sqrt()).numpy()


def test_errors_and_quantities_of_a_known_prediction(make, batch_of):
    data, model = make()
    batches = [batch_of(data, 3), batch_of(data, 2)]

    def square(z: Tensor, c: Tensor) -> Tensor:  # c is an input of this problem, but not a state
        return (c * z[..., 0, :].square()).mean(-1)

    r = measure_rollouts(
        "x",
        Factor(schema=model.schema, normalizer=model.normalizer),
        batches,
        quantities={"power": square},
        quiet=True,
    )
    np.testing.assert_allclose(r.error, np.tile(0.1 * np.arange(1, 5), (5, 1)), rtol=1e-5)
    v = torch.cat([batch.v for batch in batches])
    off = 0.1 * torch.arange(1, 5)[None, :, None, None] * v
    np.testing.assert_allclose(
        r.metrics[TRAJECTORY_ERROR],
        (off.flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)).mean(),
        rtol=1e-5,
    )
    np.testing.assert_allclose(r.quantities["power"][1], _power(batches), rtol=1e-5)
    np.testing.assert_allclose(r.metrics["correlation"], np.ones(4), rtol=1e-5)
    assert r.metrics["relative spectral error, high wavenumbers"].shape == (4,)
    assert r.metrics[BLOW_UPS] == 0
    assert r.metrics[CORRELATION_TIME] == pytest.approx(1.0)
    ours, true = r.quantities["power"]
    growth = (1 + 0.1 * np.arange(1, 5)) ** 2
    np.testing.assert_allclose(ours, true * growth, rtol=1e-5)
    np.testing.assert_allclose(r.drift("power"), (true * (growth - 1)).mean(0), rtol=1e-5)


def test_a_quantity_that_vanishes_is_measured_by_the_size_of_the_field(make, batch_of):
    data, model = make()
    batch = batch_of(data, 3)

    def none(z: Tensor, c: Tensor) -> Tensor:
        return 1e-9 * c.mean(-1) + (z - batch.v.double().movedim(-1, 2)).mean((-2, -1))

    r = measure_rollouts(
        "x",
        Factor(schema=model.schema, normalizer=model.normalizer),
        [batch],
        quantities={"none": none},
        quiet=True,
    )
    off = 0.1 * torch.arange(1, 5)[None, :] * batch.v.double().mean((-2, -1))
    expected = off.abs().mean(0) / batch.v[:, 0].double().square().mean().sqrt()
    np.testing.assert_allclose(r.drift("none"), expected, rtol=1e-5)


def test_trajectories_that_blow_up_are_counted(make, batch_of):
    data, model = make()

    class Huge(Factor):
        def forward(self, batch: Sample) -> Tensor:
            v = batch.v.clone()
            v[0] = v[0] * 100
            v[1, -1, 0, 0] = torch.nan
            return v

    r = measure_rollouts(
        "x", Huge(schema=model.schema, normalizer=model.normalizer), [batch_of(data, 3)], quiet=True
    )
    assert r.metrics[BLOW_UPS] == 2


def test_tables_show_the_trained_horizon_and_multiples():
    assert report_steps(10, 399) == [10, 20, 40, 100, 399]  # 400, but for one step
    assert report_steps(10, 1000) == [10, 20, 40, 100, 400, 1000]
    assert report_steps(10, 7) == [7]


@pytest.mark.parametrize("history", [1, 2])
def test_stepwise_adds_one_difference_per_frame(make, batch_of, history):
    data, model = make(history=history)
    batch = batch_of(data)
    given = {"schema": model.schema, "normalizer": model.normalizer}
    v_hat = Stepwise(operator=Shift(**given), **given)(batch)
    last = batch.u[..., [3 * (history - 1), 3 * (history - 1) + 1]]
    for s in range(4):
        torch.testing.assert_close(v_hat[:, s], last + (s + 1) * model.normalizer.outputs_std)
    skipped = Stepwise(operator=Shift(**given), **given)(batch._replace(t=batch.t[:, 1::2]))
    torch.testing.assert_close(skipped, v_hat[:, 1::2])


def test_stepwise_models_are_checkpoints_too(make, batch_of, tmp_path):
    """A stepwise model shares its normalizer with its operator."""
    data, model = make()
    given = {"schema": model.schema, "normalizer": model.normalizer}
    torch.manual_seed(0)
    stepwise = Stepwise(operator=UNet(width=4, **given), **given).eval()
    fields.save(stepwise, tmp_path / "unet.safetensors")
    batch = batch_of(data)
    with torch.no_grad():
        torch.testing.assert_close(
            fields.load(tmp_path / "unet.safetensors")(batch), stepwise(batch)
        )


def test_stepwise_refuses_other_points_and_times(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    given = {"schema": model.schema, "normalizer": model.normalizer}
    stepwise = Stepwise(operator=Shift(**given), **given)
    with pytest.raises(ValueError, match=r"predicts at multiples of 0\.25"):
        stepwise(batch._replace(t=batch.t * 0.9))
    with pytest.raises(ValueError, match="only at the points of its input"):
        stepwise(batch._replace(y=batch.y[:, :3]))
