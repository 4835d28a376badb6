"""Predicted trajectories: space-time images, rows of frames, prediction bands, animations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fields.core.files import atomic_path
from fields.plot.field import aspect_ratio, draw_image, middle_plane, symmetric_limits, value_setter
from fields.plot.samples import PredictedSample, title_at_step
from fields.plot.style import (
    ERROR_COLORMAP,
    FIELD_COLORMAP,
    TRUTH_COLOR,
    color_bar,
    heading,
    new_figure,
    with_style,
)


@with_style
def space_time_figure(sample: PredictedSample, *, trained_to: float | None = None) -> Figure:
    """Draw truth, prediction and error of a 1-D field over space (across) and time (up).

    Args:
        sample: with one coordinate and several times.
        trained_to: end of a training window, which is marked.

    Raises:
        ValueError: the field has more coordinates, or a single time.
    """
    if sample.y.shape[1] != 1 or len(sample.t) < 2:
        raise ValueError(
            "A space-time image needs one space coordinate and several times, got "
            f"{sample.y.shape[1]} and {len(sample.t)}. Use `frames_figure` or `animate`."
        )
    order = np.argsort(sample.y[:, 0])
    figure = new_figure(9.6, 3.4)
    heading(figure, sample.title)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (title, values, (low, high), colors) in zip(panels, _rows(sample), strict=True):
        drawn = axes.pcolormesh(
            sample.y[order, 0],
            sample.t,
            values[:, order],
            shading="nearest",
            cmap=colors,
            vmin=low,
            vmax=high,
            rasterized=True,
        )
        color_bar(axes, drawn)
        if trained_to is not None:
            axes.axhline(
                trained_to,
                color="white" if colors == FIELD_COLORMAP else "#333333",
                linestyle=":",
                linewidth=1.4,
            )
        axes.set(title=title, xlabel=sample.coords[0])
        axes.grid(False)
    panels[0].set_ylabel(sample.time)
    return figure


@with_style
def band_figure(sample: PredictedSample, step: int, width: float) -> Figure:
    """Draw prediction ± width and the truth along the first coordinate.

    Args:
        sample: trajectory and prediction. Of several coordinates the others are at their middle.
        step: index of the step.
        width: half-width of the band.
    """
    y = sample.y
    v = sample.v[step]
    v_hat = sample.v_hat[step]
    middle = np.quantile(y, 0.5, axis=0, method="lower")  # values that occur
    near = np.abs(y[:, 1:] - middle[1:]).sum(1)
    line = np.flatnonzero(near <= near.min() + 1e-9 * max(np.ptp(y), 1.0))
    line = line[np.argsort(y[line, 0])]
    figure = new_figure(6.4, 3.0)
    heading(figure, title_at_step(sample, step))
    axes = figure.subplots()
    axes.fill_between(
        y[line, 0],
        v_hat[line] - width,
        v_hat[line] + width,
        color="C0",
        alpha=0.2,
        linewidth=0,
        label="band",
    )
    axes.plot(y[line, 0], v_hat[line], color="C0", linestyle="--", label="prediction")
    axes.plot(y[line, 0], v[line], color=TRUTH_COLOR, label="truth")
    axes.set(xlabel=sample.coords[0], ylabel=sample.output)
    axes.legend(loc="upper right")
    return figure


@with_style
def frames_figure(sample: PredictedSample, steps: list[int]) -> Figure:
    """Draw truth, prediction and error (rows) of a 2-D or 3-D field at some steps (columns).

    Each row has one color scale; 3-D fields are shown in their middle plane.

    Args:
        sample: trajectory and prediction.
        steps: indices of the steps.
    """
    figure = new_figure(2.1 * len(steps) + 0.8, 0.8 + 5.4 * aspect_ratio(sample.y))
    heading(figure, sample.title)
    panels = figure.subplots(3, len(steps), sharex=True, sharey=True, squeeze=False)
    for row, (name, values, scale, colors) in zip(panels, _rows(sample), strict=True):
        for axes, step in zip(row, steps, strict=True):
            points, shown_values, _ = middle_plane(sample.y, values[step])
            drawn = draw_image(axes, points, shown_values, limits=scale, colors=colors)
        row[0].set_ylabel(f"{name}\n{sample.coords[1]}")
        color_bar(row[-1], drawn)
    for axes, step in zip(panels[0], steps, strict=True):
        axes.set_title(f"{sample.time.split(' [')[0]} {sample.t[step]:.3g}")
    for axes in panels[-1]:
        axes.set_xlabel(sample.coords[0])
    return figure


@with_style
def animate(sample: PredictedSample, path: str | Path, *, fps: int = 10) -> Path:
    """Write truth, prediction and error over time as an animation; return its path.

    Args:
        sample: trajectory and prediction.
        path: ends in ``.gif``, or in ``.mp4``, which needs the program ffmpeg.
        fps: frames per second.

    Raises:
        ValueError: the format is unknown, or ffmpeg is missing.
    """
    path = Path(path)
    writer = _writer(path.suffix, fps)
    figure, update = _moving_lines(sample) if sample.y.shape[1] == 1 else _moving_images(sample)
    figure.draw_without_rendering()  # the layout is computed once instead of for every frame
    figure.set_layout_engine("none")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, suffix=path.suffix) as part:
        FuncAnimation(figure, update, frames=len(sample.t), blit=False).save(
            part, writer=writer, dpi=100
        )
    return path


def _moving_lines(sample: PredictedSample) -> tuple[Figure, Callable[[int], list[Artist]]]:
    order = np.argsort(sample.y[:, 0])
    x = sample.y[order, 0]
    error = sample.v_hat - sample.v
    (low, high), error_limits = _limits(sample)
    margin = 0.05 * (high - low)
    figure = new_figure(7.6, 3.0)
    title = heading(figure, title_at_step(sample, 0))
    both, below = figure.subplots(1, 2)
    (truth,) = both.plot(x, sample.v[0, order], color=TRUTH_COLOR, label="truth")
    (prediction,) = both.plot(x, sample.v_hat[0, order], linestyle="--", label="prediction")
    (difference,) = below.plot(x, error[0, order], color="C1")
    both.set(title=sample.output, xlabel=sample.coords[0], ylim=(low - margin, high + margin))
    both.legend(loc="upper right")
    below.set(title="prediction − truth", xlabel=sample.coords[0], ylim=error_limits)

    def update(step: int) -> list[Artist]:
        for artist, values in ((truth, sample.v), (prediction, sample.v_hat), (difference, error)):
            artist.set_ydata(values[step, order])
        title.set_text(title_at_step(sample, step))
        return [truth, prediction, difference, title]

    return figure, update


def _moving_images(sample: PredictedSample) -> tuple[Figure, Callable[[int], list[Artist]]]:
    figure = new_figure(9.0, 1.0 + 2.1 * aspect_ratio(sample.y))
    title = heading(figure, title_at_step(sample, 0))
    artists: list[Artist] = []
    setters = []
    for axes, (name, values, scale, colors) in zip(
        figure.subplots(1, 3), _rows(sample), strict=True
    ):
        points, first, _ = middle_plane(sample.y, values[0])
        drawn = draw_image(axes, points, first, limits=scale, colors=colors)
        color_bar(axes, drawn)
        axes.set(title=name, xlabel=sample.coords[0])
        artists.append(drawn)
        setters.append((value_setter(drawn, points), values))
    figure.axes[0].set_ylabel(sample.coords[1])

    def update(step: int) -> list[Artist]:
        for change, values in setters:
            change(middle_plane(sample.y, values[step])[1])
        title.set_text(title_at_step(sample, step))
        return [*artists, title]

    return figure, update


def _rows(sample: PredictedSample) -> list[tuple[str, np.ndarray, tuple[float, float], str]]:
    """Title, values, limits and color map of truth, prediction and error.

    Truth and prediction have the same limits, those of the error are symmetric.
    """
    limits, error_limits = _limits(sample)
    return [
        (f"truth {sample.output}", sample.v, limits, FIELD_COLORMAP),
        ("prediction", sample.v_hat, limits, FIELD_COLORMAP),
        ("prediction − truth", sample.v_hat - sample.v, error_limits, ERROR_COLORMAP),
    ]


def _limits(sample: PredictedSample) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of the truth and of the error."""
    return (float(np.nanmin(sample.v)), float(np.nanmax(sample.v))), symmetric_limits(
        sample.v_hat - sample.v
    )


def _writer(suffix: str, fps: int) -> PillowWriter | FFMpegWriter:
    if suffix == ".gif":
        return PillowWriter(fps=fps)
    if suffix == ".mp4" and shutil.which("ffmpeg"):
        return FFMpegWriter(fps=fps)
    reason = (
        "needs the program ffmpeg, which is not on the path"
        if suffix == ".mp4"
        else "is not a format of animations"
    )
    raise ValueError(
        f"An animation cannot be written to `*{suffix}`: it {reason}. Use a name that ends in .gif."
    )
