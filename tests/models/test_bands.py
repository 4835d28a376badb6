"""Prediction bands of a report cover the stated share of test trajectories."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fields import plot
from fields.core.sample import Sample
from fields.models.base import Operator
from fields.report.prediction_bands import calibrate_bands


class Off(Operator):
    """The truth plus a heavy-tailed error per trajectory that grows with the step.

    The error of the second channel is twice as large.
    """

    def forward(self, batch: Sample) -> Tensor:
        steps = torch.arange(1, batch.v.shape[1] + 1)[None, :, None, None]
        growth = steps * torch.tensor([1.0, 2.0])
        return batch.v + growth * batch.params[:, None, None]


def trajectories(count: int, steps: int) -> list[Sample]:
    off = torch.distributions.StudentT(2.0).sample((count, 1))
    x = torch.linspace(0, 1, 5)[None, :, None]
    v = torch.randn(count, steps, 5, 2)
    real = torch.ones(1, 5, dtype=torch.bool)
    t = torch.arange(1.0, steps + 1).expand(count, -1)
    whole = Sample(x, torch.zeros(count, 5, 3), real, x, v, real, t, off)
    half = count // 2
    cut = ("u", "v", "t", "params")
    parts = [
        {name: getattr(whole, name)[piece] for name in cut}
        for piece in (slice(0, half), slice(half, None))
    ]
    return [whole._replace(**part) for part in parts]


def test_bands_cover_the_stated_share_at_the_steps_of_validation(make):
    torch.manual_seed(0)
    _, model = make()
    off = Off(schema=model.schema, normalizer=model.normalizer)
    bands = calibrate_bands(off, trajectories(399, 3), trajectories(2000, 7))
    assert bands is not None and bands.test_samples == 2000
    assert bands.width.shape == bands.coverage.shape == (3, 2)
    torch.testing.assert_close(bands.width[:, 1], 2 * bands.width[:, 0], rtol=1e-4, atol=1e-5)
    assert (bands.coverage - 0.9).abs().max() < 0.06
    tight = calibrate_bands(off, trajectories(399, 3), trajectories(2000, 7), alpha=0.5)
    assert tight is not None and (tight.coverage - 0.5).abs().max() < 0.1


def test_too_few_validation_trajectories_make_no_band(make):
    _, model = make()
    off = Off(schema=model.schema, normalizer=model.normalizer)
    assert calibrate_bands(off, trajectories(8, 3), trajectories(20, 3)) is None
    assert calibrate_bands(off, trajectories(9, 3), trajectories(20, 3)) is not None
    assert calibrate_bands(off, [], trajectories(20, 3)) is None


def test_the_picture_shows_one_row_of_a_plane_with_the_band_around_the_prediction():
    x = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij"), axis=-1).reshape(-1, 2)
    v = np.stack([x[:, 0] + 10 * x[:, 1]] * 2)
    case = plot.PredictedSample(
        "a", x, v[0], x, v, v + 1, np.array([1.0, 2.0]), ("x", "y"), "u", "u"
    )
    axes = plot.band_figure(case, 1, 0.5).axes[0]
    prediction, truth = axes.lines
    np.testing.assert_array_equal(truth.get_ydata(), np.arange(4.0) + 10)
    np.testing.assert_array_equal(prediction.get_ydata(), np.arange(4.0) + 11)
    edges = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() == 10.5 and edges.max() == 14.5
