"""Measured rollouts and stepwise baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import AtInput
from fields.baselines.stepwise import Stepwise
from fields.evolution.rollouts import horizons, measure
from fields.operator import Operator
from fields.sample import Sample


class Factor(Operator):
    """The truth times a factor that grows with the step."""

    def forward(self, batch: Sample) -> Tensor:
        steps = torch.arange(1, batch.v.shape[1] + 1)[None, :, None, None]
        return batch.v * (1 + 0.1 * steps)


class Shift(AtInput):
    """G = 1 everywhere: each frame one standard deviation above the last."""

    def at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        return torch.ones(*batch.u.shape[:2], 2)


def test_errors_and_quantities_of_a_known_prediction(make, batch_of):
    data, model = make()
    batches = [batch_of(data, 3), batch_of(data, 2)]
    square = lambda z: z[..., 0, :].square().mean(-1)  # noqa: E731
    r = measure("x", Factor(schema=model.schema, normalizer=model.normalizer), batches, quantities={"power": square}, quiet=True)
    np.testing.assert_allclose(r.error, np.tile(0.1 * np.arange(1, 5), (5, 1)), rtol=1e-5)
    np.testing.assert_allclose(r.nrmse, r.error, rtol=1e-5)
    np.testing.assert_allclose(r.correlation, 1, rtol=1e-5)
    ours, true = r.quantities["power"]
    growth = (1 + 0.1 * np.arange(1, 5)) ** 2
    np.testing.assert_allclose(ours, true * growth, rtol=1e-5)
    np.testing.assert_allclose(r.drift("power"), (true * (growth - 1)).mean(0), rtol=1e-5)
    assert r.blown == 0 and r.correlated() == pytest.approx(1.0) and r.spectrum is not None and r.spectrum.shape == (3, 4)


def test_blown_trajectories_are_counted(make, batch_of):
    data, model = make()

    class Huge(Factor):
        def forward(self, batch: Sample) -> Tensor:
            v = batch.v.clone()
            v[0] = v[0] * 100
            v[1, -1, 0, 0] = torch.nan
            return v

    r = measure("x", Huge(schema=model.schema, normalizer=model.normalizer), [batch_of(data, 3)], quiet=True)
    assert r.blown == 2


def test_tables_show_the_trained_horizon_and_multiples():
    assert horizons(10, 399) == [10, 20, 40, 100]
    assert horizons(10, 1000) == [10, 20, 40, 100, 400, 1000]
    assert horizons(10, 7) == [7]


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


def test_stepwise_refuses_other_points_and_times(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    given = {"schema": model.schema, "normalizer": model.normalizer}
    stepwise = Stepwise(operator=Shift(**given), **given)
    with pytest.raises(ValueError, match="whole frames"):
        stepwise(batch._replace(t=batch.t * 0.9))
    with pytest.raises(ValueError, match="points of its input alone"):
        stepwise(batch._replace(y=batch.y[:, :3]))
