"""Everything that a report shows, as plain data, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """Relative L2 errors of one model at one resolution or step.

    Args:
        model: its name.
        resolution: of the test set, or the step of a rollout.
        mean, median, worst: of the error over the test samples.
        parameters: number of the model's parameters.
        seconds: wall time of the training.
        ours: the row is about the model of the report and set in bold.
        outputs: the mean error of every output by name.
        not_finite: number of predictions that are not finite; their errors are infinite.

    Example:
        >>> table_cells(Row("field", "64", 0.004, 0.003, 0.02, parameters=31824, seconds=312))
        ('field', '31\u202f824', '64', '0.00400', '0.00300', '0.0200', '5 min 12 s')
    """

    model: str
    resolution: str
    mean: float
    median: float
    worst: float
    parameters: int | None = None
    seconds: float | None = None
    ours: bool = False
    outputs: dict[str, float] = field(default_factory=dict)
    not_finite: int = 0


Level = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Remark:
    """Something that the reader of a report has to know.

    Args:
        text: a sentence without capital and full stop.
        level: how bad it is.
        worse_than_trivial: whether it says that an error exceeds that of a trivial predictor.

    Example:
        >>> Remark("one epoch was trained", level="warning").worse_than_trivial
        False
    """

    text: str
    level: Level = "good"
    worse_than_trivial: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a report leads with; `fields.report.verdict.judge` makes it.

    Args:
        level: of the whole.
        headline: the comparison with other predictors in one sentence.
        remarks: on outputs, later steps and trainings.
        factors: the error of the model divided by that of each other predictor, by name.
        worse_than_trivial: whether some error exceeds that of a trivial predictor.

    Example:
        >>> Verdict("good", "Better.", [Remark("all samples were used")]).sentences()
        ['Better.', 'All samples were used.']
    """

    level: Level
    headline: str
    remarks: list[Remark] = field(default_factory=list)
    factors: dict[str, float] = field(default_factory=dict)
    worse_than_trivial: bool = False

    def sentences(self) -> list[str]:
        """The headline, then every remark as a sentence."""
        texts = [found.text.rstrip(".") for found in self.remarks]
        return [self.headline, *(f"{text[:1].upper()}{text[1:]}." for text in texts)]


@dataclass(frozen=True)
class Picture:
    """A figure or an animation.

    Args:
        name: one word, without spaces in the names that are built in.
        caption: sentences for the reader.
        data: the encoded file.
        kind: of the file.

    Example:
        >>> Picture("error", "The error against the epoch.", b"").kind
        'png'
    """

    name: str
    caption: str
    data: bytes
    kind: Literal["png", "gif", "svg+xml"] = "png"


@dataclass(frozen=True)
class Results:
    """Everything that a report shows.

    Args:
        title: of the report, e.g. "Burgers, ν = 0.1".
        problem: the equation, what is given and what is predicted, in one or two sentences.
        rows: the table of errors.
        protocol: data, split, seeds, time, machine and versions: what is needed to judge the
            numbers.
        command: reproduces the run.
        summary: the most important result in one sentence.
        error_name: the error that the table shows, e.g. "relative L2 of each test sample".
        metrics: further metrics by name, for every model and resolution or step.
        histories: training curves by name, each with lists "x" and "y" and others of the same
            length.
        pictures: in the order of appearance.
        next_command: what to try next.
        verdict: better or worse than other predictors, which stands above everything else.

    Example:
        >>> row = Row("model", "64", mean=0.004, median=0.003, worst=0.02)
        >>> results = Results("Burgers", "", [row], {}, "python train.py",
        ...                   metrics={"model, 64": {"VRMSE": 0.01}})
        >>> metric_tables(results)
        [(('', 'VRMSE'), [('model, 64', '0.0100')])]
    """

    title: str
    problem: str
    rows: list[Row]
    protocol: dict[str, Any]
    command: str
    summary: str = ""
    error_name: str = "relative L2"
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    histories: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    next_command: str = ""
    verdict: Verdict | None = None


COLUMNS = ("model", "parameters", "test at", "mean", "median", "worst", "training")


def table_cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of ``COLUMNS``."""
    size = "–" if row.parameters is None else f"{row.parameters:,}".replace(",", "\u202f")
    lost = f" ({row.not_finite})" if row.not_finite else ""
    errors = (
        f"{format_number(row.mean)}{lost}",
        format_number(row.median),
        format_number(row.worst),
    )
    return (
        row.model,
        size,
        row.resolution,
        *errors,
        "–" if row.seconds is None else format_duration(row.seconds),
    )


def output_table(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """The error of every output as text: head and rows; None where there is only one output."""
    names = list(dict.fromkeys(name for row in results.rows for name in row.outputs))
    if len(names) < 2:
        return None
    rows = [
        (f"{row.model}, {row.resolution}", *(format_number(row.outputs[name]) for name in names))
        for row in results.rows
        if row.outputs
    ]
    return ("", *names), rows


def metric_tables(results: Results) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """The further metrics as text: head and rows of one table per set of metrics."""
    tables: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for name, values in results.metrics.items():
        rows = tables.setdefault(("", *values), [])
        rows.append((name, *map(format_number, values.values())))
    return list(tables.items())


def format_number(value: float) -> str:
    """Three significant digits, in scientific notation outside 1e-5 … 1e5.

    Example:
        >>> [format_number(value) for value in (0.004123, 1.2649, 3.14e-7, 0.0, float("inf"))]
        ['0.00412', '1.26', '3.14e-07', '0', 'not finite']
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "not finite"
    if not 1e-5 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".")


def format_duration(seconds: float) -> str:
    """Seconds, minutes and seconds, or hours and minutes.

    Example:
        >>> [format_duration(seconds) for seconds in (0.5, 41.2, 545, 7800)]
        ['0.5 s', '41 s', '9 min 05 s', '2 h 10 min']
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
