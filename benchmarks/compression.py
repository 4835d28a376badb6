"""The price of compression: every input point a token, against fewer and fewer tokens that gather the points head by head.

    python benchmarks/compression.py [--problem darcy16] [--budget 10e] [--seeds 1]

The cells are those of the leaderboard (same recipe, cached, resumable); width, depth, decoder and
epochs are equal, so the tokens are all that differs. The skip path is left away: it would carry
around the tokens what they lose.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import leaderboard
from benchmarks.board import markdown
from benchmarks.cells import cached, isolated, settings

WITHOUT_LOCAL = ("--model.skip=null", "--model.decoder.init_args.skip_features=0")


def runs(args: Any, part: str, extra: Sequence[str]) -> list[dict[str, Any]]:
    """The results of one encoder, one per seed."""
    model, words = f"field+encoder/{part}", [*extra, *WITHOUT_LOCAL]
    dump = settings(args.problem, model, words)[1]
    cell = {
        "problem": args.problem,
        "model": model,
        "params": None,
        "extra": words,
        "settings": dump,
        "search": False,
    }
    cell |= {"budget": args.budget, "optimizer": "MuonAdamW"}
    return [cached({**cell, "seed": seed}, args.folder, isolated) for seed in range(args.seeds)]


def main(argv: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else list(argv)
    args, extra = leaderboard.arguments(
        ["--problem", "darcy16", "--budget", "10e", "--seeds", "1", *given]
    )
    data = settings(args.problem, "", extra)[0].data
    data.setup()
    axes = len(data.schema.coords)
    results = {f"{len(data.train[0].x)} (every point)": runs(args, "tokens", extra)}
    for count in (16, 8, 4) if axes == 2 else (64, 32, 16):
        words = [*extra, f"--model.encoder.init_args.tokens=[{','.join([str(count)] * axes)}]"]
        results[str(count**axes)] = runs(args, "points", words)
    full = next(iter(results.values()))
    tests = [score["test"] for score in full[0]["scores"]]
    head = [
        "tokens",
        *(f"rel. L2 at {test}" for test in tests),
        *(f"price at {test}" for test in tests),
        "ms/step",
    ]
    rows = [head]
    for name, made in results.items():
        errors = [mean(run["scores"][i]["mean"] for run in made) for i in range(len(tests))]
        price = [
            error / mean(run["scores"][i]["mean"] for run in full) for i, error in enumerate(errors)
        ]
        pace = mean(1e3 * run["seconds"] / run["steps"] for run in made)
        rows.append(
            [name, *(f"{e:.4f}" for e in errors), *(f"{p:.2f}" for p in price), f"{pace:.0f}"]
        )
    table = markdown(rows)
    note = f"{args.problem}, {args.budget} each, {args.seeds} seeds; price: error over that with every point a token.\n"
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    command = f"Made by `python benchmarks/compression.py {' '.join(given)}`.\n"
    (args.out / "compression.md").write_text(
        f"# The price of compression\n\n{table}\n\n{note}{command}"
    )


if __name__ == "__main__":
    main()
