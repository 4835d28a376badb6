"""Trains a list of models on one problem on equal terms and writes a table, two figures and the protocol.

    python benchmarks/leaderboard.py --problem darcy16 --budget 600s --params 1e6 --seeds 3 --models
    field FNO UNet python benchmarks/leaderboard.py --problem burgers --budget 60s --params 7.5e5
    --models transformer,grand,hamiltonian python benchmarks/leaderboard.py --problem burgers
    --budget 60s --params 7.5e5 --models cross,concat,film,hyper,deeponet,pca

The problem is ``configs/PROBLEM.yaml``: its data, its training of the field and its trainer. A
model is ``field`` or ``transformer`` (as configured), the name of a processor, decoder or encoder
(``grand``, with ``configs/processor/grand.yaml`` on top), ``field+decoder/film+encoder/tokens``
(with those parts on top) or a baseline by name (``DeepONet`` is the baseline, ``deeponet`` the
decoder).

Equal terms: all share batch size, budget, schedule, averaging of weights, clipping, precision,
normalization and loss. Sizes are chosen for ``--params``; the budget is wall time of training
(``600s``) or epochs (``50e``). The optimizer is the best
of three for every model: each trains for a share ``--search`` of the budget with seed 0, and the
validation split decides.

On a machine that others use too, wall time says little. ``--paced`` measures one training step of
every model beforehand, side by side, and gives each as many steps as fit the seconds of the budget
at that pace.

Every cell (model, seed) runs in a process of its own, whose peak memory is reported, and is kept in
``--folder`` under the
hash of its settings: an interrupted leaderboard goes on where it was when the same command is given
again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml

from benchmarks import board
from benchmarks.cells import (
    BASELINES,
    FITTED,
    OPTIMIZERS,
    ROOT,
    Cell,
    cached,
    isolated,
    known,
    settings,
)
from benchmarks.pace import paced
from fields.baselines.base import SensorOperator
from fields.baselines.grid import GridOperator
from fields.data.datamodule import FieldDataModule

DEFAULT = ["field", "FNO", "UNet", "DeepONet", "PCANet", "Transolver", "KernelRidge", "MeanField"]
PUBLISHED: dict[str, dict[str, str]] = yaml.safe_load(
    (ROOT / "benchmarks" / "published.yaml").read_text()
)
PARTS = ("processor", "decoder", "encoder")
PACED = " (steps at the pace that all showed side by side)"
How = Callable[[Cell, Path], dict[str, Any]]


def full_name(name: str) -> str:
    """``grand`` is short for ``field+processor/grand``, ``film`` for ``field+decoder/film``, ``transformer`` for the field."""
    if name == "transformer":
        return "field"
    parts = [part for part in PARTS if (ROOT / "configs" / part / f"{name}.yaml").is_file()]
    return f"field+{parts[0]}/{name}" if parts else name


def cell_of(name: str, args: argparse.Namespace, extra: list[str]) -> Cell:
    """What all runs of one model share."""
    model = full_name(name)
    dump = settings(args.problem, "" if model in BASELINES else model, extra)[1]
    cell: Cell = {
        "problem": args.problem,
        "model": model,
        "params": args.params,
        "extra": extra,
        "settings": dump,
        "search": False,
    }
    cell |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "optimizer": None}
    return cell | {"budget": None if BASELINES.get(model) in FITTED else args.budget}


def at_their_pace(cells: dict[str, Cell], folder: Path) -> dict[str, Cell]:
    """Budgets in seconds -> the numbers of steps that fit them."""
    timed = {name: cell for name, cell in cells.items() if cell["budget"]}
    seconds = dict(zip(timed, paced(list(timed.values()), folder), strict=True))
    print(
        "ms per step, side by side: "
        + ", ".join(f"{name} {1e3 * s:.0f}" for name, s in seconds.items()),
        flush=True,
    )
    steps = {
        name: {"budget": f"{round(float(timed[name]['budget'][:-1]) / s)}n", "pace": s}
        for name, s in seconds.items()
    }
    return {name: cell | steps.get(name, {}) for name, cell in cells.items()}


def compete(cell: Cell, args: argparse.Namespace, how: How) -> list[dict[str, Any]]:
    """Results of one model for every seed, with the optimizer that suits it best."""
    fitted = cell["budget"] is None
    optimizer, searched = None if fitted else "MuonAdamW", {}
    if args.search and not fitted:
        share = {
            "search": True,
            "seed": 0,
            "budget": f"{args.search * float(cell['budget'][:-1]):g}{cell['budget'][-1]}",
        }
        trials = {
            key: cached({**cell, **share, "optimizer": key}, args.folder, how) for key in OPTIMIZERS
        }
        searched = {key: trial["validation"] for key, trial in trials.items()}
        optimizer = min(searched, key=lambda key: searched[key])
    runs = [
        cached({**cell, "optimizer": optimizer, "seed": seed}, args.folder, how)
        for seed in range(1 if fitted else args.seeds)
    ]
    return [{**run, "searched": searched} for run in runs]


def protocol(
    args: argparse.Namespace, data: Any, command: str, recipe: dict[str, Any]
) -> dict[str, Any]:
    """Everything that was equal, and on what."""
    tests = ", ".join(f"{len(rows)} test at {name}" for name, rows in data.tests.items())
    return {
        "command": command,
        "budget": args.budget, "parameters": args.params, "seeds": args.seeds, "data": recipe, "batch_size": data.batch_size,
        "split": f"{len(data.train)} train, {len(data.val)} validation, {tests}",
        "optimizer": f"best validation error of {', '.join(OPTIMIZERS)} after {args.search:g} of the budget each, seed 0; "
        "weight decay .01; MuonAdamW with the rates of the problem's settings" if args.search else "MuonAdamW for all",
        "shared": "batch size, schedule (linear warm-up, cosine to 0 over the budget), weights averaged (0.98 per step), clipping, "
        "precision, loss (relative L2 in physical units), statistics of the training split, random query points where a model "
        "answers points one by one",
        "symmetries": "moved points in training for models that take points as they come; arrays and fixed sensors only along "
        "axes where the problem is homogeneous",
        "selection": "weights of the best validation error; the test split is used once; relative L2 in physical units",
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }  # fmt: skip


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command line; what it does not know goes to the settings of ``train.py``."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("--problem", default="burgers", help="a file of configs/ without .yaml")
    out.add_argument("--models", nargs="+", default=None, help="with blanks or commas between")
    out.add_argument(
        "--budget", default="600s", help="seconds (600s) or epochs (50e) of training per cell"
    )
    out.add_argument(
        "--search",
        type=float,
        default=0.2,
        help="share of the budget per optimizer tried; 0: MuonAdamW for all",
    )
    out.add_argument(
        "--params", type=float, default=None, help="parameters of every model; none: as configured"
    )
    out.add_argument("--seeds", type=int, default=3)
    out.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "leaderboard", help="finished cells"
    )
    out.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results", help="table, figures, protocol"
    )
    out.add_argument("--name", default=None, help="of the files written; by default the problem's")
    out.add_argument(
        "--paced", action="store_true", help="seconds as steps at the pace measured side by side"
    )
    args, extra = out.parse_known_args(argv)
    args.models = (
        None
        if args.models is None
        else [name for words in args.models for name in words.split(",") if name]
    )
    for name in args.models or ():
        if full_name(name).split("+")[0] != "field" and name not in BASELINES:
            parts = ", ".join(known(part).replace(f"{part}/", "") for part in PARTS)
            out.error(
                f"there is no model {name!r}. Known: field, transformer, {parts}, field+PART/NAME, {', '.join(BASELINES)}."
            )
    if args.budget[-1:] not in ("s", "e") or not args.budget[:-1].replace(".", "", 1).isdigit():
        out.error(f"--budget {args.budget!r} should be seconds such as 600s or epochs such as 50e.")
    if args.paced and args.budget[-1] != "s":
        out.error(
            f"--paced turns seconds into steps, but --budget is {args.budget}. Give seconds such as 600s."
        )
    if args.paced and torch.cuda.is_available():
        out.error(
            "--paced measures time on processors, and training here is on a GPU. Leave it out: on a GPU, seconds will do."
        )
    return args, extra


def able(names: Sequence[str] | None, problem: str, data: FieldDataModule) -> list[str]:
    """The models that take the problem's points; whichever was asked for by name and does not is refused before any training."""
    asked = DEFAULT if names is None else list(names)
    unable = [
        name
        for name in asked
        if name in BASELINES and issubclass(BASELINES[name], GridOperator | SensorOperator)
    ]
    if data.train.shared_points is not None or not unable:
        return asked
    if names is not None:
        raise SystemExit(
            f"leaderboard.py: {', '.join(unable)} need points that all samples share, and every sample of {problem} has its own. "
            "Leave them out of --models."
        )
    print(f"Left out, since every sample of {problem} has points of its own: {', '.join(unable)}.")
    return [*(name for name in DEFAULT if name not in unable), "MeanValue"]


def main(argv: Sequence[str] | None = None, how: How = isolated) -> None:
    args, extra = arguments(argv)
    parts, _ = settings(args.problem, "", extra)
    parts.data.setup()
    args.models = able(args.models, args.problem, parts.data)
    recipe = json.loads(parts.data.source.attrs.get("protocol", "{}") or "{}")
    published = {**recipe.get("published", {}), **PUBLISHED.get(args.problem, {})}
    command = f"python benchmarks/leaderboard.py {' '.join(sys.argv[1:] if argv is None else argv)}"
    told = protocol(args, parts.data, command, recipe)
    args.out.mkdir(parents=True, exist_ok=True)
    stem, results = args.name or Path(args.problem).name, {}
    cells = {name: cell_of(name, args, extra) for name in args.models}
    cells = at_their_pace(cells, args.folder) if args.paced else cells
    for name, cell in cells.items():  # what is finished is shown, however long the rest takes
        results[name] = compete(cell, args, how)
        words = board.table(results, published, args.params)
        note = f"{told['split']}; {args.budget} per run{PACED if args.paced else ''}, {args.seeds} seeds; "
        note += f"optimizer: {told['optimizer']}.\n{told['machine']}."
        (args.out / f"{stem}.md").write_text(
            f"# {stem}\n\n{words}\n\n{note}\nMade by `{told['command']}`.\n"
        )
        (args.out / f"{stem}.json").write_text(
            json.dumps({"protocol": told, "results": results}, indent=1)
        )
    for kind, png in board.figures(results, parts.data.schema.grid).items():
        (args.out / f"{stem}_{kind}.png").write_bytes(png)
    print(words)


if __name__ == "__main__":
    main()
