"""Fields in time: space-time pictures, rows of frames, animations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.figure import Figure

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
def space_time_figure(case: PredictedSample, *, trained_to: float | None = None) -> Figure:
    """Truth, prediction and error of a 1-D evolution over space (across) and time (up), training horizon marked."""
    if case.y.shape[1] != 1 or len(case.t) < 2:
        raise ValueError(
            f"A space-time picture needs one space coordinate and several times, got {case.y.shape[1]} and "
            f"{len(case.t)}. Use `frames_figure` or `animate`."
        )
    order = np.argsort(case.y[:, 0])
    figure = new_figure(9.6, 3.4)
    heading(figure, case.title)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (title, values, (low, high), colors) in zip(panels, _rows(case), strict=True):
        drawn = axes.pcolormesh(
            case.y[order, 0], case.t, values[:, order], shading="nearest", cmap=colors, vmin=low, vmax=high,
            rasterized=True,
        )  # fmt: skip
        color_bar(axes, drawn)
        if trained_to is not None:
            axes.axhline(
                trained_to,
                color="white" if colors == FIELD_COLORMAP else "#333333",
                linestyle=":",
                linewidth=1.4,
            )
        axes.set(title=title, xlabel=case.coords[0])
        axes.grid(False)
    panels[0].set_ylabel(case.time)
    return figure


@with_style
def band_figure(case: PredictedSample, step: int, width: float) -> Figure:
    """Prediction ± width and truth of one step, along the first coordinate (of more: at the middle of the others)."""
    y, v, v_hat = case.y, case.v[step], case.v_hat[step]
    middle = np.quantile(y, 0.5, axis=0, method="lower")  # a row of points, not between two
    near = np.abs(y[:, 1:] - middle[1:]).sum(1)
    line = np.flatnonzero(near <= near.min() + 1e-9 * max(np.ptp(y), 1.0))
    line = line[np.argsort(y[line, 0])]
    figure = new_figure(6.4, 3.0)
    heading(figure, title_at_step(case, step))
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
    axes.set(xlabel=case.coords[0], ylabel=case.output)
    axes.legend(loc="upper right")
    return figure


@with_style
def frames_figure(case: PredictedSample, steps: list[int]) -> Figure:
    """Truth, prediction and error (rows) of a 2-D or 3-D evolution at some steps (columns), one scale per row."""
    figure = new_figure(2.1 * len(steps) + 0.8, 0.8 + 5.4 * aspect_ratio(case.y))
    heading(figure, case.title)
    panels = figure.subplots(3, len(steps), sharex=True, sharey=True, squeeze=False)
    for row, (name, values, scale, colors) in zip(panels, _rows(case), strict=True):
        for axes, step in zip(row, steps, strict=True):
            points, shown_values, _ = middle_plane(case.y, values[step])
            drawn = draw_image(axes, points, shown_values, limits=scale, colors=colors)
        row[0].set_ylabel(f"{name}\n{case.coords[1]}")
        color_bar(row[-1], drawn)
    for axes, step in zip(panels[0], steps, strict=True):
        axes.set_title(f"{case.time.split(' [')[0]} {case.t[step]:.3g}")
    for axes in panels[-1]:
        axes.set_xlabel(case.coords[0])
    return figure


@with_style
def animate(case: PredictedSample, path: str | Path, *, fps: int = 10) -> Path:
    """Writes truth, prediction and error over time as a GIF or MP4, by the suffix of ``path``; returns the path."""
    path = Path(path)
    writer = _writer(path.suffix, fps)
    figure, update = _moving_lines(case) if case.y.shape[1] == 1 else _moving_images(case)
    figure.draw_without_rendering()  # lays the panels out once; doing it for every frame takes most of the time
    figure.set_layout_engine("none")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    FuncAnimation(figure, update, frames=len(case.t), blit=False).save(part, writer=writer, dpi=100)
    os.replace(part, path)
    return path


def _moving_lines(case: PredictedSample) -> tuple[Figure, Callable[[int], list[Artist]]]:
    order = np.argsort(case.y[:, 0])
    x, error = case.y[order, 0], case.v_hat - case.v
    (low, high), error_limits = _limits(case)
    margin = 0.05 * (high - low)
    figure = new_figure(7.6, 3.0)
    title = heading(figure, title_at_step(case, 0))
    both, below = figure.subplots(1, 2)
    (truth,) = both.plot(x, case.v[0, order], color=TRUTH_COLOR, label="truth")
    (prediction,) = both.plot(x, case.v_hat[0, order], linestyle="--", label="prediction")
    (difference,) = below.plot(x, error[0, order], color="C1")
    both.set(title=case.output, xlabel=case.coords[0], ylim=(low - margin, high + margin))
    both.legend(loc="upper right")
    below.set(title="prediction − truth", xlabel=case.coords[0], ylim=error_limits)

    def update(step: int) -> list[Artist]:
        for artist, values in ((truth, case.v), (prediction, case.v_hat), (difference, error)):
            artist.set_ydata(values[step, order])
        title.set_text(title_at_step(case, step))
        return [truth, prediction, difference, title]

    return figure, update


def _moving_images(case: PredictedSample) -> tuple[Figure, Callable[[int], list[Artist]]]:
    figure = new_figure(9.0, 1.0 + 2.1 * aspect_ratio(case.y))
    title = heading(figure, title_at_step(case, 0))
    artists, setters = [], []
    for axes, (name, values, scale, colors) in zip(figure.subplots(1, 3), _rows(case), strict=True):
        points, first, _ = middle_plane(case.y, values[0])
        drawn = draw_image(axes, points, first, limits=scale, colors=colors)
        color_bar(axes, drawn)
        axes.set(title=name, xlabel=case.coords[0])
        artists.append(drawn)
        setters.append((value_setter(drawn, points), values))
    figure.axes[0].set_ylabel(case.coords[1])

    def update(step: int) -> list[Artist]:
        for change, values in setters:
            change(middle_plane(case.y, values[step])[1])
        title.set_text(title_at_step(case, step))
        return [*artists, title]

    return figure, update


def _rows(case: PredictedSample) -> list[tuple[str, np.ndarray, tuple[float, float], str]]:
    """What is shown, on which scale: truth and prediction share the truth's, the error is centerd at zero."""
    limits, error_limits = _limits(case)
    return [
        (f"truth {case.output}", case.v, limits, FIELD_COLORMAP),
        ("prediction", case.v_hat, limits, FIELD_COLORMAP),
        ("prediction − truth", case.v_hat - case.v, error_limits, ERROR_COLORMAP),
    ]


def _limits(case: PredictedSample) -> tuple[tuple[float, float], tuple[float, float]]:
    return (float(np.nanmin(case.v)), float(np.nanmax(case.v))), symmetric_limits(
        case.v_hat - case.v
    )


def _writer(suffix: str, fps: int) -> PillowWriter | FFMpegWriter:
    if suffix == ".gif":
        return PillowWriter(fps=fps)
    if suffix == ".mp4" and shutil.which("ffmpeg"):
        return FFMpegWriter(fps=fps)
    reason = (
        "needs the program ffmpeg, which is not on the path"
        if suffix == ".mp4"
        else "is not a film format here"
    )
    raise ValueError(
        f"Cannot write an animation to `*{suffix}`: it {reason}. Use a name that ends in .gif."
    )
