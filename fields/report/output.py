"""Printing results on the terminal and writing them to ``report.json`` and ``report.html``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fields.core.files import write_atomically
from fields.core.printable import printable
from fields.report.html import render_html
from fields.report.results import (
    COLUMNS,
    Results,
    Verdict,
    metric_tables,
    output_table,
    table_cells,
)

# Characters that a column of a metric takes on the terminal, its distance to the next included.
METRIC_WIDTH = 13

# Rows of tables after which the verdict is repeated, as its first lines have left the screen.
SCREEN = 20

VERDICT_COLORS = {"good": "green", "warning": "yellow", "bad": "red"}


def print_table(results: Results, console: Console | None = None) -> None:
    """Print the verdict, the errors, those of the report's model in bold, and further metrics."""
    console = console or Console()
    if results.verdict is not None:
        _print_verdict(results.verdict, console)
    caption = f"{results.error_name}; test split"
    if results.summary:
        caption += f"\n{results.summary}"
    table = _table(results.title)
    table.caption = _plain(caption)
    for name in COLUMNS:
        text = name == "model"
        table.add_column(
            _plain(name), justify="left" if text else "right", no_wrap=not text, overflow="fold"
        )
    for row in results.rows:
        table.add_row(*map(_plain, table_cells(row)), style="bold" if row.ours else None)
    console.print(table)
    outputs = output_table(results)
    if outputs is not None:
        _print_metrics("mean relative L2 of every output", *outputs, console)
    for head, rows in metric_tables(results):
        _print_metrics("further metrics", head, rows, console)
    if results.verdict is not None and len(results.rows) + len(results.metrics) > SCREEN:
        _print_headline(results.verdict, console)


def _print_verdict(verdict: Verdict, console: Console) -> None:
    console.print()
    _print_headline(verdict, console)
    _, *others = verdict.sentences()
    for sentence, found in zip(others, verdict.remarks, strict=True):
        style = "" if found.level == "good" else VERDICT_COLORS[found.level]
        console.print(Text(f"- {sentence}", style=style))


def _print_headline(verdict: Verdict, console: Console) -> None:
    color = VERDICT_COLORS[verdict.level]
    console.print(Text(f"Verdict: {verdict.headline}", style=f"bold {color}"))


def _print_metrics(
    title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], console: Console
) -> None:
    """One table of metrics, cut into several where the terminal is too narrow for all columns."""
    longest = max(len(row[0]) for row in rows)
    count = max(1, (console.width - min(longest, console.width // 2)) // METRIC_WIDTH)
    for start in range(1, len(head), count):
        columns = slice(start, start + count)
        table = _table(title)
        table.add_column("", overflow="fold")
        for name in head[columns]:
            table.add_column(_plain(name), justify="right", min_width=METRIC_WIDTH - 3)
        for row in rows:
            table.add_row(*map(_plain, (row[0], *row[columns])))
        console.print(table)


def _plain(text: str) -> str:
    """Text from a file without the markup and the control characters that it may hold."""
    return escape(printable(text))


def _table(title: str) -> Table:
    return Table(
        title=_plain(title),
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )


def write_report(results: Results, folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html``; each file appears only once it is complete.

    Args:
        results: what they show.
        folder: made if it does not exist.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "report.json", folder / "report.html"
    for path, text in zip(written, (to_json(results), render_html(results)), strict=True):
        write_atomically(path, text)
    return written


def to_json(results: Results) -> str:
    """Strict JSON; of pictures only name and caption, numbers that are not finite as null."""
    values = asdict(results)
    values["pictures"] = [
        {"name": picture.name, "caption": picture.caption} for picture in results.pictures
    ]
    text = json.dumps(
        to_plain({"format": 2, **values}), indent=2, ensure_ascii=False, allow_nan=False
    )
    return f"{text}\n"


def to_plain(value: Any) -> Any:
    """Values that JSON has: NumPy and torch scalars as numbers, paths and the like as text.

    Numbers that are not finite become None.

    Example:
        >>> to_plain({"error": float("inf"), "step": Path("a")})
        {'error': None, 'step': 'a'}
    """
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
