"""Figures of curves: losses, errors against resolution, errors and invariants in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from fields.plot.style import new_figure, with_style


@dataclass(frozen=True)
class Curve:
    """One line, with an optional band around it.

    Args:
        x, y: points of the line.
        low, high: edges of the band, such as quantiles over samples or the spread over seeds.

    Example:
        >>> curve = Curve(np.arange(3), np.array([1.0, 0.5, 0.25]))
        >>> curves_figure({"loss": curve}, x_label="epoch", y_label="loss").axes[0].get_xlabel()
        'epoch'
    """

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
    """Curves in one pair of axes, with a legend.

    An axis without any positive value stays linear. A point whose neighbors are missing or not
    finite, such as that of a training of one epoch, is drawn with a marker, as no line shows it.

    Args:
        curves: by the name that the legend shows.
        x_label, y_label: of the axes.
        log_x, log_y: logarithmic axes.
        marker: at every point of the lines.
        marks: dotted vertical lines at these positions, by the text above them.
    """
    figure = new_figure(6.6, 3.2)
    axes = figure.subplots()
    for name, curve in curves.items():
        shown = marker or ("o" if _has_lone_points(curve.y) else "")
        y = np.where(np.isfinite(curve.y), curve.y, np.nan)
        (line,) = axes.plot(curve.x, y, label=name, marker=shown, markersize=4.5)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.15, linewidth=0
            )
    # Curves of zeros or NaN only cannot be drawn on a logarithmic axis: matplotlib would warn.
    if log_x and _positive([curve.x for curve in curves.values()]):
        axes.set_xscale("log")
    if log_y and _positive([curve.y for curve in curves.values()]):
        axes.set_yscale("log")
    for text, position in (marks or {}).items():
        axes.axvline(position, color="#999999", linestyle=":", linewidth=1.2, zorder=0)
        axes.annotate(
            text,
            (position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="#666666",
        )
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.margins(x=0.03)
    # Beside the axes, which the lines may fill.
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def loss_figure(
    curves: dict[str, Curve], *, x_label: str = "epoch", y_label: str = "relative L2"
) -> Figure:
    """Training losses and validation errors on a logarithmic axis; see `curves_figure`."""
    return curves_figure(curves, x_label=x_label, y_label=y_label, log_y=True)


@with_style
def resolution_figure(
    curves: dict[str, Curve],
    *,
    trained_at: float,
    x_label: str = "points per axis",
    y_label: str = "mean relative L2",
) -> Figure:
    """Errors against resolution on logarithmic axes.

    Args:
        curves: one per model.
        trained_at: the training resolution, which is marked.
        x_label, y_label: of the axes.
    """
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
    """An error or another quantity in time.

    Args:
        curves: one per model.
        y_label, x_label: of the axes.
        trained_to: end of a training window, which is marked.
        log: logarithmic vertical axis.
    """
    marks = None if trained_to is None else {"training horizon": trained_to}
    return curves_figure(curves, x_label=x_label, y_label=y_label, log_y=log, marks=marks)


def _has_lone_points(y: np.ndarray) -> bool:
    """Whether a finite value has no finite neighbor."""
    finite = np.pad(np.isfinite(np.asarray(y, dtype=float)), 1)
    return bool((finite[1:-1] & ~finite[:-2] & ~finite[2:]).any())


def _positive(arrays: list[np.ndarray]) -> bool:
    """Whether any value is positive and finite."""
    return any(
        bool((np.isfinite(values) & (values > 0)).any()) for values in map(np.asarray, arrays)
    )
