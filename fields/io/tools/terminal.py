"""What the tools print for people; colors only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from fields.io.tools.repack import Progress as Report
from fields.io.tools.validate import Finding


def console() -> Console:
    """Standard output; wide enough for tables when it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(width=140, highlight=False, color_system=None)


def show(about: dict[str, Any]) -> None:
    """The answer of ``inspect``."""
    out = console()
    if about["layout"] is None:
        out.print(escape(about["reason"]), soft_wrap=True)
        out.print(
            "\nA mapping to start from; correct it, save it as mapping.yaml and add --mapping mapping.yaml:\n"
        )
        out.print(
            escape(yaml.safe_dump(about["mapping"], sort_keys=False, default_flow_style=None))
        )
        return
    sizes = ", ".join(f"{name} {size}" for name, size in about["sizes"].items())
    out.print(
        f"[bold]{escape(about['path'])}[/bold]  {about['layout']}  {about['problem']}  {_bytes(about['bytes'])}"
    )
    out.print(sizes)
    out.print(_variables(about["variables"]))
    out.print(_coordinates(about["coords"]))
    for key, value in about["attrs"].items():
        out.print(f"{key}: {escape(str(value))}", soft_wrap=True)
    if about["speed"]:
        speed = about["speed"]
        what = f"windows of {speed['frames']} frames" if speed["frames"] > 1 else "frames"
        rate = f"{speed['windows_per_second']:.0f} per second, {speed['megabytes_per_second']:.0f} MB/s"
        out.print(f"reads {what} at random places: {rate}")
    for line in about["advice"]:
        out.print(escape(line), soft_wrap=True)


def show_findings(file: Path, findings: list[Finding]) -> None:
    """The answer of ``validate``."""
    out = console()
    for level, where, message in findings:
        color = "red" if level == "error" else "yellow"
        out.print(f"[{color}]{level}[/{color}] {escape(where)}: {escape(message)}", soft_wrap=True)
    errors = sum(finding.level == "error" for finding in findings)
    out.print(
        f"{escape(str(file))}: {errors} errors, {len(findings) - errors} warnings.", soft_wrap=True
    )


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report]:
    """A bar on a terminal, nothing otherwise."""
    out = Console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda step, done, total: None
        return
    with Progress(console=out) as bar:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            tasks.setdefault(step, bar.add_task(step, total=total) if step not in tasks else None)
            bar.update(tasks[step], completed=done)

        yield report


def _variables(variables: dict[str, Any]) -> Table:
    table = Table(
        "variable", "role", "axes", "type", "units", "stored as", box=None, pad_edge=False
    )
    for name, about in variables.items():
        axes = " ".join(
            f"{dim}={size}" for dim, size in zip(about["dims"], about["shape"], strict=True)
        )
        stored = (
            "values " + " to ".join(f"{v:.4g}" for v in about["range"])
            if "range" in about
            else _stored(about)
        )
        table.add_row(
            *map(escape, (name, about["role"], axes, about["dtype"], about["units"], stored))
        )
    return table


def _stored(about: dict[str, Any]) -> str:
    if "place" not in about:
        return ""
    chunks = "x".join(map(str, about["chunks"])) if about["chunks"] else None
    text = f"{about['place']}, " + (f"chunks {chunks}" if chunks else "in one piece")
    return text + (f", {about['compression']}" if about["compression"] else "")


def _coordinates(coords: dict[str, Any]) -> Table:
    table = Table("coordinate", "axes", "range", "units", "domain", box=None, pad_edge=False)
    for name, about in coords.items():
        span = f"{about['first']:.6g} … {about['last']:.6g}" if "first" in about else ""
        span += "" if about.get("uniform", True) else " (uneven)"
        domain = (
            f"[{about['bounds'][0]:.6g}, {about['bounds'][1]:.6g}]" if "bounds" in about else ""
        )
        domain += {1: " periodic", 0: ""}.get(
            about.get("periodic", -1), " periodic?" if domain else ""
        )
        domain += f" {about['boundary']}" if "boundary" in about else ""
        axes = " ".join(
            f"{dim}={size}" for dim, size in zip(about["dims"], about["shape"], strict=True)
        )
        table.add_row(*map(escape, (name, axes, span, about["units"], domain)))
    return table


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
