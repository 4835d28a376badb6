"""The pictures in the report of an evolution problem, with their captions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fields import plot
from fields.evaluation.rollouts import Rollouts
from fields.report.prediction_bands import ALPHA, PredictionBands
from fields.report.results import Picture


def error_picture(rollouts: Sequence[Rollouts], horizon_time: float, time: str) -> Picture:
    """Relative L2 of every model in time.

    Args:
        rollouts: one per model.
        horizon_time: end of a training window, which is marked.
        time: label of the time axis.
    """
    curves = {r.model: plot.Curve(r.times, r.error.mean(0)) for r in rollouts}
    drawn = plot.time_figure(
        curves, trained_to=horizon_time, x_label=time, y_label="mean relative L2 of the step"
    )
    caption = "Relative L2 of each predicted step, mean over test trajectories."
    return Picture("error", caption, plot.png(drawn))


def quantity_picture(
    name: str, rollouts: Sequence[Rollouts], horizon_time: float, time: str
) -> Picture:
    """An invariant or Lyapunov function of the truth and of every model in time.

    Args:
        name: of the quantity.
        rollouts: one per model.
        horizon_time: end of a training window, which is marked.
        time: label of the time axis.
    """
    first = rollouts[0]
    curves = {"truth": plot.Curve(first.times, first.quantities[name][1].mean(0))}
    for r in rollouts:
        curves[r.model] = plot.Curve(r.times, r.quantities[name][0].mean(0))
    drawn = plot.time_figure(
        curves,
        trained_to=horizon_time,
        x_label=time,
        y_label=f"{name}, relative to initial",
        log=False,
    )
    caption = (
        f"{name.capitalize()} of the predicted fields, divided by the root mean square of the "
        "true initial values; mean over test trajectories."
    )
    return Picture(name, caption, plot.png(drawn))


def trajectory_picture(sample: plot.PredictedSample, horizon: int, output: str = "") -> Picture:
    """One trajectory over space and time, in more than one dimension as frames.

    Args:
        sample: trajectory and prediction.
        horizon: steps of a training window.
        output: added to the name of the picture where there are several outputs.
    """
    if sample.y.shape[1] == 1:
        end = float(sample.t[min(horizon, len(sample.t)) - 1])
        drawn = plot.space_time_figure(sample, trained_to=end)
    else:
        last = len(sample.t) - 1
        steps = {0, horizon - 1, 2 * horizon - 1, last}
        drawn = plot.frames_figure(sample, sorted(step for step in steps if step <= last))
    caption = "Test trajectory of median error, up to four times the training horizon."
    return Picture(f"trajectory{output}", caption, plot.png(drawn))


def band_picture(
    sample: plot.PredictedSample,
    bands: PredictionBands,
    step: int,
    channel: int = 0,
    output: str = "",
) -> Picture:
    """One step of a prediction with its band.

    Args:
        sample: trajectory and prediction.
        bands: of the same model.
        step: counted from 1.
        channel: index of the output.
        output: added to the name of the picture where there are several outputs.
    """
    caption = (
        f"Prediction of step {step} with its {1 - ALPHA:.0%} band, which contains the whole field "
        "of a new trajectory with this probability. It is calibrated on "
        f"{bands.calibration_samples} validation trajectories, which also selected the weights; "
        f"{float(bands.coverage[step - 1, channel]):.0%} of the {bands.test_samples} test "
        "trajectories lie inside."
    )
    drawn = plot.band_figure(sample, step - 1, float(bands.width[step - 1, channel]))
    return Picture(f"band{output}", caption, plot.png(drawn))


def animation_picture(sample: plot.PredictedSample, output: str = "") -> Picture:
    """The trajectory as an animated GIF.

    Args:
        sample: trajectory and prediction.
        output: added to the name of the picture where there are several outputs.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = plot.animate(sample, Path(folder) / "animation.gif").read_bytes()
    return Picture(f"animation{output}", "The same trajectory, animated.", data, kind="gif")
