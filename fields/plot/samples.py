"""A sample and its prediction: input, truth, prediction and error in 1, 2 or 3 dimensions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from fields.core.sample import Sample, Schema
from fields.plot.field import aspect_ratio, draw_image, draw_line, middle_plane, symmetric_limits
from fields.plot.style import (
    ERROR_COLORMAP,
    FIELD_COLORMAP,
    TRUTH_COLOR,
    color_bar,
    heading,
    label,
    legend,
    new_figure,
    with_style,
)


@dataclass(frozen=True)
class PredictedSample:
    """One output of one sample and its prediction, in physical units.

    Args:
        title: of the figures.
        x, u: points and values of one input.
        y: points of truth and prediction.
        v: truth at every time.
        v_hat: prediction at every time.
        t: times.
        coords: labels of the coordinates, with units.
        input, output: labels of the variables, with units.
        time: label of the time, with its unit.

    Example:
        >>> x = np.linspace(0, 1, 9)[:, None]
        >>> v = np.sin(x).T
        >>> sample = PredictedSample("test", x, v[0], x, v, v, np.zeros(1), ("x",), "a", "u")
        >>> len(sample_figure([sample]).axes)
        3
    """

    title: str
    x: Float[np.ndarray, "n d"]
    u: Float[np.ndarray, "n"]
    y: Float[np.ndarray, "m d"]
    v: Float[np.ndarray, "s m"]
    v_hat: Float[np.ndarray, "s m"]
    t: Float[np.ndarray, "s"]
    coords: tuple[str, ...]
    input: str
    output: str
    time: str = "time"

    def first_steps(self, steps: int) -> PredictedSample:
        """Only the first steps."""
        return replace(self, v=self.v[:steps], v_hat=self.v_hat[:steps], t=self.t[:steps])

    @classmethod
    def from_sample(
        cls,
        sample: Sample,
        v_hat: Float[np.ndarray, "s m o"],
        schema: Schema,
        *,
        title: str,
        channel: int = 0,
    ) -> PredictedSample:
        """Select one output of a sample, and the input that belongs to it.

        This is the latest frame of the input of the same name, else of one whose name begins with
        it and an underscore, else of the first input.

        Args:
            sample: without a batch axis.
            v_hat: its prediction.
            schema: names and units.
            title: of the figures.
            channel: index of the output.
        """
        wanted = schema.outputs[channel]
        kin = [name for name in schema.inputs if name == wanted or name.startswith(f"{wanted}_")]
        index = schema.inputs.index(
            wanted if wanted in kin else kin[0] if kin else schema.inputs[0]
        )
        u = _array(sample.u)[:, index - len(schema.inputs)]
        asked = _array(sample.y_mask)
        # An input that is given at points of its own is NaN at those of the others.
        given = _array(sample.x_mask) & np.isfinite(u)
        return cls(
            title=title,
            x=_array(sample.x)[given],
            u=u[given],
            y=_array(sample.y)[asked],
            v=_array(sample.v)[:, asked, channel],
            v_hat=_array(v_hat)[:, asked, channel],
            t=_array(sample.t),
            coords=tuple(label(name, schema.units) for name in schema.coords),
            input=label(schema.inputs[index], schema.units),
            output=label(wanted, schema.units),
            time=label("time", schema.units),
        )


@with_style
def sample_figure(samples: list[PredictedSample]) -> Figure:
    """Draw input, truth, prediction and error, one row for every sample.

    Of trajectories the last frame is shown, of 3-D fields the middle plane.
    """
    width, height = (
        (9.0, 2.6)
        if samples[0].y.shape[1] == 1
        else (11.0, 0.85 + 1.9 * aspect_ratio(samples[0].y))
    )
    figure = new_figure(width, height * len(samples))
    rows = figure.subfigures(len(samples), 1, squeeze=False)[:, 0]
    for row, sample in zip(rows, samples, strict=True):
        heading(row, title_at_step(sample, -1) if len(sample.t) > 1 else sample.title)
        if sample.y.shape[1] == 1:
            _lines(row, sample)
        else:
            _images(row, sample)
    return figure


def _lines(row: SubFigure, sample: PredictedSample) -> None:
    given, both, error = row.subplots(1, 3)
    draw_line(given, sample.x, sample.u, color="#666666")
    given.set(title="input", ylabel=sample.input)
    draw_line(both, sample.y, sample.v[-1], color=TRUTH_COLOR, label="truth")
    draw_line(both, sample.y, sample.v_hat[-1], linestyle="--", label="prediction")
    both.set(title="output", ylabel=sample.output)
    legend(both)
    draw_line(error, sample.y, sample.v_hat[-1] - sample.v[-1], color="C1")
    error.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    error.set(title="prediction − truth", ylabel=sample.output)
    error.yaxis.set_offset_position("right")  # not below the title
    for axes in (given, both, error):
        axes.set_xlabel(sample.coords[0])


def _images(row: SubFigure, sample: PredictedSample) -> None:
    given, truth, prediction, error = row.subplots(1, 4)
    points, u, plane = middle_plane(sample.x, sample.u)
    _panel(given, points, u, sample, f"input {sample.input}{plane}")
    points, v, plane = middle_plane(sample.y, sample.v[-1])
    v_hat = middle_plane(sample.y, sample.v_hat[-1])[1]
    # Truth and prediction have the same color scale.
    limits = (float(np.nanmin(v)), float(np.nanmax(v)))
    _panel(truth, points, v, sample, f"truth {sample.output}{plane}", limits)
    _panel(prediction, points, v_hat, sample, "prediction", limits)
    _panel(
        error,
        points,
        v_hat - v,
        sample,
        "prediction − truth",
        symmetric_limits(v_hat - v),
        ERROR_COLORMAP,
    )
    for axes in (truth, prediction, error):
        axes.set_ylabel("")


def _panel(
    axes: Axes,
    points: np.ndarray,
    values: np.ndarray,
    sample: PredictedSample,
    title: str,
    limits: tuple[float, float] | None = None,
    colors: str = FIELD_COLORMAP,
) -> None:
    drawn = draw_image(axes, points, values, limits=limits, colors=colors)
    color_bar(axes, drawn)
    axes.set(title=title, xlabel=sample.coords[0], ylabel=sample.coords[1])


def title_at_step(sample: PredictedSample, step: int) -> str:
    """Title, time and unit of one step, for example "median, time 0.5 s"."""
    name, _, unit = sample.time.removesuffix("]").partition(" [")
    return f"{sample.title}, {name} {sample.t[step]:.3g} {unit}".rstrip()


def _array(values: object) -> np.ndarray:
    detached = values.detach().cpu() if hasattr(values, "detach") else values  # type: ignore[attr-defined]
    return np.asarray(detached)
