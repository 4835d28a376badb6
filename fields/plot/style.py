"""The style of all figures, and figures as files or bytes."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

from fields.core.files import atomic_path

P = ParamSpec("P")

R = TypeVar("R")

# Okabe & Ito: distinct with any kind of color vision and in print. The truth is black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")

TRUTH_COLOR = "#1a1a1a"

FIELD_COLORMAP = "viridis"  # perceptually uniform

ERROR_COLORMAP = "RdBu_r"  # diverging, white at zero

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    # The eighth line is dashed.
    "axes.prop_cycle": cycler(linestyle=("-", "--")) * cycler(color=COLORS),
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
}


def with_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to draw with `STYLE`; the settings of matplotlib stay as they were."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, drawn by Agg."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(name: str, units: dict[str, str]) -> str:
    """``name [unit]``, or only the name if it has no unit.

    Example:
        >>> label("u", {"u": "m/s"}), label("x", {})
        ('u [m/s]', 'x')
    """
    unit = units.get(name, "")
    return f"{name} [{unit}]" if unit not in ("", "1") else name


def color_bar(axes: Axes, drawn: ScalarMappable) -> None:
    """Draw a color bar that is exactly as high as the axes."""
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.045, 1)))
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.grid(False)
    bar.ax.yaxis.set_offset_position("left")


def heading(figure: Figure | SubFigure, text: str) -> Text:
    """Draw the title of a row of panels."""
    return figure.suptitle(
        text, x=0.01, ha="left", fontsize=10, fontweight="bold", color=TRUTH_COLOR
    )


def legend(axes: Axes) -> None:
    """Draw a legend if there are several labels."""
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend()


@with_style
def png(figure: Figure) -> bytes:
    """Encode a figure as PNG.

    Example:
        >>> png(new_figure(1, 1))[:4]
        b'\\x89PNG'
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@with_style
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, which appears only once it is complete; return the path.

    Args:
        figure: drawn by this package or by matplotlib.
        path: its suffix is the format. Folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        figure.savefig(part, format=path.suffix.removeprefix("."))
    return path
