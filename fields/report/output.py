"""Results on the terminal, in a file for programs and in a page for people."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from fields.report.html import render_html
from fields.report.results import COLUMNS, Results, table_cells


def print_table(results: Results, console: Console | None = None) -> None:
    """Prints the table, our own rows in bold."""
    caption = f"{results.error_name}; test split" + (
        f"\n{results.summary}" if results.summary else ""
    )
    table = Table(
        title=results.title,
        box=box.SIMPLE_HEAD,
        caption=caption,
        caption_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for name in COLUMNS:
        table.add_column(
            name, justify="left" if name == "model" else "right", no_wrap=name != "model"
        )
    for row in results.rows:
        table.add_row(*table_cells(row), style="bold" if row.ours else None)
    (console or Console()).print(table)


def write_report(results: Results, folder: str | Path) -> tuple[Path, Path]:
    """Writes ``report.json`` and ``report.html`` into the folder; each appears only once complete."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "report.json", folder / "report.html"
    for path, text in zip(written, (to_json(results), render_html(results)), strict=True):
        part = path.with_name(f"{path.name}.part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    return written


def to_json(results: Results) -> str:
    """Strict JSON: pictures by name and caption only, numbers that are not finite as null."""
    values = asdict(results)
    values["pictures"] = [
        {"name": picture.name, "caption": picture.caption} for picture in results.pictures
    ]
    return (
        json.dumps(_plain({"format": 1, **values}), indent=2, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def _plain(value: Any) -> Any:
    """Nested values as JSON has them; NumPy and torch scalars become Python's, paths and the like become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
