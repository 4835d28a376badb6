"""Cost in accuracy of compression: one token per input point against fewer and fewer tokens.

    python benchmarks/compression.py [--problem darcy16] [--budget 10e] [--seeds 1]

The runs are those of the leaderboard (same recipe, cached, resumable). Width, depth, decoder and
epochs are equal; only the encoder's tokens differ. The skip path is switched off, since it would
carry the information around the tokens that they lose.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks import leaderboard
from benchmarks.runs import cached_run, run_in_subprocess, settings
from benchmarks.tables import markdown

WITHOUT_SKIP = ("--model.skip=null", "--model.decoder.init_args.skip_features=0")


def runs_of(args: Any, encoder: str, extra: Sequence[str]) -> list[dict[str, Any]]:
    """The results of one encoder, one per seed."""
    model = f"field+encoder/{encoder}"
    words = [*extra, *WITHOUT_SKIP]
    spec = {
        "problem": args.problem,
        "model": model,
        "params": None,
        "extra": words,
        "settings": settings(args.problem, model, words)[1],
        "search": False,
        "budget": args.budget,
        "optimizer": "MuonAdamW",
    }
    return [
        cached_run({**spec, "seed": seed}, args.folder, run_in_subprocess)
        for seed in range(args.seeds)
    ]


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: errors, and their ratios to those of the first row."""
    full = next(iter(results.values()))
    tests = [score["test"] for score in full[0]["scores"]]

    def errors(runs: list[dict[str, Any]]) -> list[float]:
        return [mean(run["scores"][i]["mean"] for run in runs) for i in range(len(tests))]

    rows = [
        [
            "tokens",
            *(f"rel. L2 at {test}" for test in tests),
            *(f"ratio at {test}" for test in tests),
            "ms/step",
        ]
    ]
    for name, runs in results.items():
        found = errors(runs)
        ratios = [error / base for error, base in zip(found, errors(full), strict=True)]
        step = mean(1e3 * run["seconds"] / run["steps"] for run in runs)
        numbers = [*(f"{e:.4f}" for e in found), *(f"{r:.2f}" for r in ratios), f"{step:.0f}"]
        rows.append([name, *numbers])
    return markdown(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs every encoder, prints and writes the table."""
    given = sys.argv[1:] if argv is None else list(argv)
    defaults = ["--problem", "darcy16", "--budget", "10e", "--seeds", "1"]
    args, extra = leaderboard.arguments([*defaults, *given])
    data = settings(args.problem, "", extra)[0].data
    data.setup()
    axes = len(data.schema.coords)
    results = {f"{len(data.train[0].x)} (every point)": runs_of(args, "tokens", extra)}
    for count in (16, 8, 4) if axes == 2 else (64, 32, 16):
        words = [*extra, f"--model.encoder.init_args.tokens=[{','.join([str(count)] * axes)}]"]
        results[str(count**axes)] = runs_of(args, "points", words)
    shown = table(results)
    print(shown)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "compression.md").write_text(
        f"# The cost of compression\n\n{shown}\n\n"
        f"{args.problem}, {args.budget} each, {args.seeds} seeds; ratio: error divided by that of "
        "one token per point.\n"
        f"Made by `python benchmarks/compression.py {' '.join(given)}`.\n"
    )


if __name__ == "__main__":
    main()
