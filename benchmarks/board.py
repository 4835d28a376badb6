"""What the leaderboard shows: a table in Markdown and two figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fields import plot

Results = dict[str, list[dict[str, Any]]]  # per model, one result per seed
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


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    sd = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{sd}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def trained(name: str, protocol: Mapping[str, Any]) -> str:
    """How a checkpoint was made, as a line of a list."""
    times = "".join(
        f", {model} {seconds:.0f} s" for model, seconds in (protocol.get("seconds") or {}).items()
    )
    return f"- {name}: `{protocol.get('command')}`{times}"


def table(results: Results, published: dict[str, str], target: float | None) -> str:
    """Markdown: our runs, then published numbers in a column of their own."""
    rows = []
    for name, runs in results.items():
        off = (
            target is not None
            and runs[0]["width"] is not None
            and abs(runs[0]["parameters"] / target - 1) > 0.05
        )
        size = f"{runs[0]['parameters']:,}{' (off by more than 5 %)' if off else ''}"
        step = [
            1e3 * (one["cell"].get("pace") or one["seconds"] / one["steps"])
            for one in runs
            if one["steps"]
        ]
        pace = f"{statistics.mean(step):.1f}" if step else "–"
        memory = max(one["memory"] for one in runs) / 1e6
        for i, test in enumerate(runs[0]["scores"]):
            scores = [one["scores"][i] for one in runs]
            errors = [spread([s[key] for s in scores]) for key in ("mean", "median", "worst")]
            answer = statistics.mean(1e3 * s["seconds"] / s["samples"] for s in scores)
            optimizer = runs[0]["cell"]["optimizer"] or "–"
            rows.append(
                [
                    name,
                    test["test"],
                    *errors,
                    size,
                    pace,
                    f"{answer:.2f}",
                    f"{memory:.0f}",
                    optimizer,
                    "",
                ]
            )
    rows += [[name, *[""] * (len(HEAD) - 2), text] for name, text in published.items()]
    return markdown([HEAD, *rows])


def figures(results: Results, grid: tuple[int, ...] | None) -> dict[str, bytes]:
    """Validation error in training time, and test error against resolution (grids of more than one)."""
    first = {name: runs[0] for name, runs in results.items() if runs[0]["history"]}
    curve = {name: history(run) for name, run in first.items()}
    out = (
        {"time": plot.png(plot.loss_figure(curve, x_label="training time (s), seed 0"))}
        if curve
        else {}
    )
    tests = next(iter(results.values()))[0]["scores"]
    if grid is not None and len(tests) > 1:
        x = np.array([int(t["test"].split("x")[0]) for t in tests])
        means = {
            n: np.array([[s["mean"] for s in one["scores"]] for one in runs])
            for n, runs in results.items()
        }
        order = x.argsort()
        lines = {
            n: plot.Curve(x[order], m.mean(0)[order], m.min(0)[order], m.max(0)[order])
            for n, m in means.items()
        }
        out["resolution"] = plot.png(plot.resolution_figure(lines, trained_at=grid[0]))
    return out


def history(run: dict[str, Any]) -> plot.Curve:
    """Validation error over seconds of training; at the pace measured side by side, if there is one, epochs are equally long."""
    epoch, seconds, error = (
        np.array([row[key] for row in run["history"]]) for key in ("epoch", "seconds", "val_error")
    )
    pace = run["cell"].get("pace")
    return plot.Curve(
        (epoch + 1) / (epoch[-1] + 1) * pace * run["steps"] if pace else seconds, error
    )
