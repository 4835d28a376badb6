"""Tables in Markdown and figures of benchmark results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fields import plot

Results = dict[str, list[dict[str, Any]]]  # model -> one result per seed
HEAD = (
    "model",
    "test",
    "mean",
    "median",
    "worst",
    "parameters",
    "ms/step",
    "ms/sample",
    "peak MB",
    "optimizer",
    "published",
)
TOLERANCE = 0.05  # by which the number of parameters may differ from the target without a remark


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    sd = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{sd}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose header is the first row."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def training_line(name: str, protocol: Mapping[str, Any]) -> str:
    """The training command of a checkpoint and its seconds, as a list item."""
    seconds = (protocol.get("seconds") or {}).items()
    times = "".join(f", {model} {value:.0f} s" for model, value in seconds)
    return f"- {name}: `{protocol.get('command')}`{times}"


def table(results: Results, published: dict[str, str], target: float | None) -> str:
    """Markdown: one row per model and test set, then published numbers in their own column."""
    rows = [row for name, runs in results.items() for row in _rows(name, runs, target)]
    rows += [[name, *[""] * (len(HEAD) - 2), text] for name, text in published.items()]
    return markdown([HEAD, *rows])


def _rows(name: str, runs: Sequence[dict[str, Any]], target: float | None) -> list[list[str]]:
    """The rows of one model, one per test set."""
    first = runs[0]
    size = f"{first['parameters']:,}"
    sized = target is not None and first["width"] is not None
    if sized and abs(first["parameters"] / target - 1) > TOLERANCE:
        size += f" (differs by more than {TOLERANCE:.0%} from the target)"
    steps = [
        1e3 * (run["spec"].get("step_time") or run["seconds"] / run["steps"])
        for run in runs
        if run["steps"]
    ]
    step = f"{statistics.mean(steps):.1f}" if steps else "–"
    memory = f"{max(run['memory'] for run in runs) / 1e6:.0f}"
    rows = []
    for i, test in enumerate(first["scores"]):
        scores = [run["scores"][i] for run in runs]
        errors = [spread([s[key] for s in scores]) for key in ("mean", "median", "worst")]
        answer = f"{statistics.mean(1e3 * s['seconds'] / s['samples'] for s in scores):.2f}"
        optimizer = first["spec"]["optimizer"] or "–"
        rows.append([name, test["test"], *errors, size, step, answer, memory, optimizer, ""])
    return rows


def figures(results: Results, grid: tuple[int, ...] | None) -> dict[str, bytes]:
    """Validation error over training time, and on grids the test error over the resolution."""
    first = {name: runs[0] for name, runs in results.items() if runs[0]["history"]}
    curves = {name: validation_curve(run) for name, run in first.items()}
    out = {}
    if curves:
        out["time"] = plot.png(plot.loss_figure(curves, x_label="training time (s), seed 0"))
    tests = next(iter(results.values()))[0]["scores"]
    if grid is None or len(tests) < 2:
        return out
    x = np.array([int(t["test"].split("x")[0]) for t in tests])
    order = x.argsort()
    lines = {}
    for name, runs in results.items():
        m = np.array([[s["mean"] for s in run["scores"]] for run in runs])[:, order]
        lines[name] = plot.Curve(x[order], m.mean(0), m.min(0), m.max(0))
    out["resolution"] = plot.png(plot.resolution_figure(lines, trained_at=grid[0]))
    return out


def validation_curve(run: dict[str, Any]) -> plot.Curve:
    """Validation error over seconds of training.

    With a step time measured side by side, the time axis is that of equally long epochs.
    """
    epoch, seconds, error = (
        np.array([row[key] for row in run["history"]]) for key in ("epoch", "seconds", "val_error")
    )
    step_time = run["spec"].get("step_time")
    if step_time:
        seconds = (epoch + 1) / (epoch[-1] + 1) * step_time * run["steps"]
    return plot.Curve(seconds, error)
