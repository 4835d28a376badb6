"""What the tools print in a terminal; colors only there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from fields.core.printable import printable
from fields.io.tools.repack import Progress as ProgressCallback
from fields.io.tools.validate import Finding


def console() -> Console:
    """Standard output, with 140 columns and without colors if it is not a terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(width=140, highlight=False, color_system=None)


def plain_text(text: Any, style: str = "") -> Text:
    """Text of a file as it is: without markup, emoji codes and control characters.

    Example:
        >>> print(plain_text("[red]u :smile: " + chr(27)))
        [red]u :smile: \\x1b
    """
    return Text(printable(text), style=style)


def show(content: dict[str, Any]) -> None:
    """Print the result of ``describe``."""
    out = console()
    if content["layout"] is None:
        out.print(plain_text(content["reason"]), soft_wrap=True)
        out.print(
            "\nA proposed mapping, guessed from shapes and names. Correct it, save it as "
            "mapping.yaml and add --mapping mapping.yaml:\n",
            soft_wrap=True,
        )
        mapping = yaml.safe_dump(
            content["mapping"], sort_keys=False, default_flow_style=None, allow_unicode=True
        )
        out.print(plain_text(mapping), soft_wrap=True)
        return
    words = f"  {content['layout']}  {content['problem']}  {_format_bytes(content['bytes'])}"
    out.print(plain_text(content["path"], "bold") + plain_text(words))
    out.print(plain_text(", ".join(f"{name} {n}" for name, n in content["sizes"].items())))
    out.print(_variables(content["variables"]))
    out.print(_coordinates(content["coords"]))
    for key, value in content["attrs"].items():
        out.print(plain_text(f"{key}: {value}"), soft_wrap=True)
    if content["speed"]:
        speed = content["speed"]
        what = f"windows of {speed['frames']} frames" if speed["frames"] > 1 else "frames"
        windows = f"{speed['windows_per_second']:.0f} per second"
        out.print(f"random {what}: {windows}, {speed['megabytes_per_second']:.0f} MB/s")
    for line in content["advice"]:
        out.print(plain_text(line), soft_wrap=True)


def show_findings(file: Path, findings: list[Finding]) -> None:
    """Print the result of ``validate``."""
    out = console()
    for level, where, message in findings:
        color = "red" if level == "error" else "yellow"
        out.print(plain_text(level, color) + plain_text(f" {where}: {message}"), soft_wrap=True)
    errors = sum(finding.level == "error" for finding in findings)
    warnings = len(findings) - errors
    out.print(plain_text(f"{file}: {errors} errors, {warnings} warnings."), soft_wrap=True)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[ProgressCallback]:
    """A progress bar per step if standard error is a terminal, else nothing."""
    out = Console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda step, done, total: None
        return
    with Progress(console=out) as bar:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done)

        yield report


def _variables(variables: dict[str, Any]) -> Table:
    headers = ("variable", "role", "axes", "type", "units", "stored as")
    table = Table(*headers, box=None, pad_edge=False)
    for name, content in variables.items():
        if "range" in content:
            stored = "values " + " to ".join(f"{v:.4g}" for v in content["range"])
        else:
            stored = _stored_as(content)
        row = (name, content["role"], _axes(content), content["dtype"], content["units"], stored)
        table.add_row(*map(plain_text, row))
    return table


def _axes(content: dict[str, Any]) -> str:
    pairs = zip(content["dims"], content["shape"], strict=True)
    return " ".join(f"{dim}={size}" for dim, size in pairs)


def _stored_as(content: dict[str, Any]) -> str:
    if "place" not in content:
        return ""
    chunks = "x".join(map(str, content["chunks"])) if content["chunks"] else None
    text = f"{content['place']}, " + (f"chunks {chunks}" if chunks else "contiguous")
    return text + (f", {content['compression']}" if content["compression"] else "")


def _coordinates(coords: dict[str, Any]) -> Table:
    table = Table("coordinate", "axes", "range", "units", "domain", box=None, pad_edge=False)
    for name, content in coords.items():
        span = f"{content['first']:.6g} … {content['last']:.6g}" if "first" in content else ""
        span += "" if content.get("uniform", True) else " (not uniform)"
        row = (name, _axes(content), span, content["units"], _domain(content))
        table.add_row(*map(plain_text, row))
    return table


def _domain(content: dict[str, Any]) -> str:
    domain = ""
    if "bounds" in content:
        domain = f"[{content['bounds'][0]:.6g}, {content['bounds'][1]:.6g}]"
    if content.get("periodic") == 1:
        domain += " periodic"
    elif "periodic" not in content and domain:
        domain += " periodic?"
    return domain + (f" {content['boundary']}" if "boundary" in content else "")


def _format_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
