"""What a report shows, as plain data, and how numbers are spelled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One model at one resolution; errors are relative L2 over the test samples."""

    model: str
    resolution: str
    mean: float
    median: float
    worst: float
    parameters: int | None = None
    seconds: float | None = None  # of training
    ours: bool = False  # set in bold


@dataclass(frozen=True)
class Picture:
    """A figure or an animation, encoded."""

    name: str
    caption: str
    data: bytes
    kind: Literal["png", "gif", "svg+xml"] = "png"


@dataclass(frozen=True)
class Results:
    """Everything a report shows.

    Args:
        title: of the report, e.g. "Burgers, ν = 0.1".
        problem: one or two sentences: the equation, what is given, what is predicted.
        summary: the one sentence to remember.
        error_name: which error the table shows, e.g. "relative L2, per step, channels jointly".
        protocol: data recipe, split, seeds, budget, hardware, versions: what is needed to judge the
            numbers.
        rows: the table.
        metrics: other scores, by name.
        histories: curves of the training by name, each with the lists "x" and "y", and others of
            the same length.
        pictures: in the order of appearance.
        command: reproduces the run.
        next_command: what to try next.
    """

    title: str
    problem: str
    rows: list[Row]
    protocol: dict[str, Any]
    command: str
    summary: str = ""
    error_name: str = "relative L2"
    metrics: dict[str, float] = field(default_factory=dict)
    histories: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    next_command: str = ""


COLUMNS = ("model", "parameters", "resolution", "mean", "median", "worst", "training")


def table_cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of ``COLUMNS``."""
    size = "–" if row.parameters is None else f"{row.parameters:,}".replace(",", "\u202f")
    errors = (format_number(row.mean), format_number(row.median), format_number(row.worst))
    return (
        row.model,
        size,
        row.resolution,
        *errors,
        "–" if row.seconds is None else format_duration(row.seconds),
    )


def format_number(value: float) -> str:
    """Three significant digits without noise: 0.00412, 0.0975, 1.26, 3.1e-07; nothing is 0."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "not finite"
    if not 1e-5 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".")


def format_duration(seconds: float) -> str:
    """41 s, 9 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
