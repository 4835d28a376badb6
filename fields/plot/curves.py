"""Lines: losses, errors against resolution, errors and invariants in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from fields.plot.style import new_figure, with_style


@dataclass(frozen=True)
class Curve:
    """One line, with a band around it if there is one (quantiles over samples, spread over seeds)."""

    x: Float[np.ndarray, "n"]
    y: Float[np.ndarray, "n"]
    low: Float[np.ndarray, "n"] | None = None
    high: Float[np.ndarray, "n"] | None = None


@with_style
def curves_figure(
    curves: dict[str, Curve],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    marker: str = "",
    marks: dict[str, float] | None = None,
) -> Figure:
    """Named curves in one frame; ``marks`` are dotted vertical lines with a word beside them."""
    figure = new_figure(6.6, 3.2)
    axes = figure.subplots()
    for name, curve in curves.items():
        (line,) = axes.plot(curve.x, curve.y, label=name, marker=marker, markersize=4.5)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.15, linewidth=0
            )
    # A curve of zeros or of nothing but NaN has no place on a logarithmic axis and would only raise a warning.
    if log_x and _positive([curve.x for curve in curves.values()]):
        axes.set_xscale("log")
    if log_y and _positive([curve.y for curve in curves.values()]):
        axes.set_yscale("log")
    for text, place in (marks or {}).items():
        axes.axvline(place, color="#999999", linestyle=":", linewidth=1.2, zorder=0)
        axes.annotate(text, (place, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                      ha="center", fontsize=8, color="#666666")  # fmt: skip
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.margins(x=0.03)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1, 1)
    )  # beside the frame, which lines may fill; one line is named too
    return figure


def loss_figure(
    curves: dict[str, Curve], *, x_label: str = "epoch", y_label: str = "relative L2"
) -> Figure:
    """Training and validation losses on a logarithmic scale."""
    return curves_figure(curves, x_label=x_label, y_label=y_label, log_y=True)


@with_style
def resolution_figure(
    curves: dict[str, Curve],
    *,
    trained_at: float,
    x_label: str = "points per axis",
    y_label: str = "mean relative L2",
) -> Figure:
    """Error against resolution, one curve per model, with the training resolution marked."""
    marks = {"training": trained_at}
    figure = curves_figure(
        curves, x_label=x_label, y_label=y_label, log_x=True, log_y=True, marker="o", marks=marks
    )
    axes = figure.axes[0]
    ticks = sorted({float(x) for curve in curves.values() for x in curve.x})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
    return figure


def time_figure(
    curves: dict[str, Curve],
    *,
    y_label: str,
    x_label: str = "time",
    trained_to: float | None = None,
    log: bool = True,
) -> Figure:
    """A quantity in time (error, correlation, energy), one curve per model, with the training horizon marked."""
    marks = None if trained_to is None else {"training horizon": trained_to}
    return curves_figure(curves, x_label=x_label, y_label=y_label, log_y=log, marks=marks)


def _positive(arrays: list[np.ndarray]) -> bool:
    return any(
        bool((np.isfinite(values) & (values > 0)).any()) for values in map(np.asarray, arrays)
    )
