"""One sample beside its prediction: input, truth, prediction, error, in one, two or three dimensions."""

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
    """One channel of one sample and its prediction, in physical units, ready to draw."""

    title: str
    x: Float[np.ndarray, "n d"]
    u: Float[np.ndarray, "n"]
    y: Float[np.ndarray, "m d"]
    v: Float[np.ndarray, "s m"]
    v_hat: Float[np.ndarray, "s m"]
    t: Float[np.ndarray, "s"]
    coords: tuple[str, ...]  # axis labels, unit included
    input: str
    output: str
    time: str = "time"

    def first_steps(self, steps: int) -> PredictedSample:
        """The first steps alone."""
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
        """Picks an output channel, and the input of its name (its latest frame), or what else begins with it, or the first one."""
        wanted = schema.outputs[channel]
        kin = [name for name in schema.inputs if name == wanted or name.startswith(f"{wanted}_")]
        index = schema.inputs.index(
            wanted if wanted in kin else kin[0] if kin else schema.inputs[0]
        )
        u, asked = _array(sample.u)[:, index - len(schema.inputs)], _array(sample.y_mask)
        given = _array(sample.x_mask) & np.isfinite(
            u
        )  # one of several input functions is NaN where others live
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
def sample_figure(cases: list[PredictedSample]) -> Figure:
    """A row per case (say the median and the worst sample); of an evolution the last frame is shown."""
    width, height = (
        (9.0, 2.6) if cases[0].y.shape[1] == 1 else (11.0, 0.85 + 1.9 * aspect_ratio(cases[0].y))
    )
    figure = new_figure(width, height * len(cases))
    rows = figure.subfigures(len(cases), 1, squeeze=False)[:, 0]
    for row, case in zip(rows, cases, strict=True):
        heading(row, title_at_step(case, -1) if len(case.t) > 1 else case.title)
        if case.y.shape[1] == 1:
            _lines(row, case)
        else:
            _images(row, case)
    return figure


def _lines(row: SubFigure, case: PredictedSample) -> None:
    given, both, error = row.subplots(1, 3)
    draw_line(given, case.x, case.u, color="#666666")
    given.set(title="input", ylabel=case.input)
    draw_line(both, case.y, case.v[-1], color=TRUTH_COLOR, label="truth")
    draw_line(both, case.y, case.v_hat[-1], linestyle="--", label="prediction")
    both.set(title="output", ylabel=case.output)
    legend(both)
    draw_line(error, case.y, case.v_hat[-1] - case.v[-1], color="C1")
    error.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    error.set(title="prediction − truth", ylabel=case.output)
    error.yaxis.set_offset_position("right")  # beside the title, not under it
    for axes in (given, both, error):
        axes.set_xlabel(case.coords[0])


def _images(row: SubFigure, case: PredictedSample) -> None:
    given, truth, prediction, error = row.subplots(1, 4)
    points, u, place = middle_plane(case.x, case.u)
    _panel(given, points, u, case, f"input {case.input}{place}")
    points, v, place = middle_plane(case.y, case.v[-1])
    v_hat = middle_plane(case.y, case.v_hat[-1])[1]
    # Truth and prediction are told apart by eye only on the same scale: the truth's.
    limits = (float(np.nanmin(v)), float(np.nanmax(v)))
    _panel(truth, points, v, case, f"truth {case.output}{place}", limits)
    _panel(prediction, points, v_hat, case, "prediction", limits)
    _panel(
        error,
        points,
        v_hat - v,
        case,
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
    case: PredictedSample,
    title: str,
    limits: tuple[float, float] | None = None,
    colors: str = FIELD_COLORMAP,
) -> None:
    drawn = draw_image(axes, points, values, limits=limits, colors=colors)
    color_bar(axes, drawn)
    axes.set(title=title, xlabel=case.coords[0], ylabel=case.coords[1])


def title_at_step(case: PredictedSample, step: int) -> str:
    """Title and time of one step."""
    name, _, unit = case.time.removesuffix("]").partition(" [")
    return f"{case.title}, {name} {case.t[step]:.3g} {unit}".rstrip()


def _array(values: object) -> np.ndarray:
    detached = values.detach().cpu() if hasattr(values, "detach") else values  # type: ignore[attr-defined]
    return np.asarray(detached)
