"""Trains models on one problem under equal conditions; writes table, figures and protocol.

    python benchmarks/leaderboard.py --problem darcy16 --budget 600s --params 1e6 --seeds 3 \
        --models field FNO UNet
    python benchmarks/leaderboard.py --problem burgers --budget 60s --params 7.5e5 \
        --models transformer,grand,hamiltonian
    python benchmarks/leaderboard.py --problem burgers --budget 60s --params 7.5e5 \
        --models cross,concat,film,hyper,deeponet,pca

The problem is ``configs/PROBLEM.yaml``: its data, the training of the field and the trainer. A
model is ``field`` or ``transformer`` (as configured), the name of a processor, decoder or encoder
(``grand`` adds ``configs/processor/grand.yaml``), ``field+decoder/film+encoder/tokens`` (adds both
files) or a baseline by name (``DeepONet`` is the baseline, ``deeponet`` the decoder).

All models share batch size, budget, learning-rate schedule, weight averaging, gradient clipping,
precision, normalization and loss. Their sizes are chosen to match ``--params``. The budget is wall
time of training (``600s``) or a number of epochs (``50e``). Every model gets the best of three
optimizers: each of them trains for the share ``--search`` of the budget with seed 0, and the
validation split decides.

Wall time is not comparable on a machine that runs other work. ``--paced`` therefore measures one
training step of every model beforehand, side by side, and gives each model as many steps as fit
into the budget at that step time.

Every run (model, seed) takes place in a process of its own, whose peak memory is reported. Its
result is cached in ``--folder`` under the hash of its settings, so the same command resumes an
interrupted leaderboard.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import tables
from benchmarks.runs import (
    BASELINES,
    FITTED,
    OPTIMIZERS,
    ROOT,
    RunSpec,
    cached_run,
    known,
    run_in_subprocess,
    settings,
)
from benchmarks.step_time import cached_step_times
from fields.baselines.base import SensorOperator
from fields.baselines.grid import GridOperator
from fields.data.datamodule import FieldDataModule

DEFAULT = ["field", "FNO", "UNet", "DeepONet", "PCANet", "Transolver", "KernelRidge", "MeanField"]
PUBLISHED: dict[str, dict[str, str]] = yaml.safe_load(
    (ROOT / "benchmarks" / "published.yaml").read_text()
)
COMPONENTS = ("processor", "decoder", "encoder")
PACED = " (converted to steps with the step times measured side by side)"
SHARED = (
    "batch size, schedule (linear warm-up, cosine to 0 over the budget), averaged weights (0.98 "
    "per step), gradient clipping, precision, loss (relative L2 in physical units), statistics of "
    "the training split, random query points for models that can be evaluated at single points"
)
SYMMETRIES = (
    "points are transformed during training for models that accept arbitrary points; for models on "
    "arrays and fixed sensors only along axes where the problem is homogeneous"
)
SELECTION = (
    "weights of the best validation error; the test split is used once; relative L2 in physical "
    "units"
)
Runner = Callable[[RunSpec, Path], dict[str, Any]]


def full_name(name: str) -> str:
    """The name with its files: ``grand`` becomes ``field+processor/grand``.

    ``transformer`` becomes ``field``; baselines and full names are returned unchanged.
    """
    if name == "transformer":
        return "field"
    found = [part for part in COMPONENTS if (ROOT / "configs" / part / f"{name}.yaml").is_file()]
    return f"field+{found[0]}/{name}" if found else name


def spec_for(name: str, args: argparse.Namespace, extra: list[str]) -> RunSpec:
    """The part of the run specification that all runs of one model share."""
    model = full_name(name)
    fitted = BASELINES.get(model) in FITTED
    return {
        "problem": args.problem,
        "model": model,
        "params": args.params,
        "extra": extra,
        "settings": settings(args.problem, "" if model in BASELINES else model, extra)[1],
        "search": False,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "optimizer": None,
        "budget": None if fitted else args.budget,
    }


def with_equal_time(specs: dict[str, RunSpec], folder: Path) -> dict[str, RunSpec]:
    """Replaces budgets in seconds by the numbers of steps that fit into them."""
    timed = {name: spec for name, spec in specs.items() if spec["budget"]}
    seconds = dict(zip(timed, cached_step_times(list(timed.values()), folder), strict=True))
    shown = ", ".join(f"{name} {1e3 * s:.0f}" for name, s in seconds.items())
    print(f"ms per step, side by side: {shown}", flush=True)
    steps = {
        name: {"budget": f"{round(float(timed[name]['budget'][:-1]) / s)}n", "step_time": s}
        for name, s in seconds.items()
    }
    return {name: spec | steps.get(name, {}) for name, spec in specs.items()}


def run_seeds(spec: RunSpec, args: argparse.Namespace, runner: Runner) -> list[dict[str, Any]]:
    """Results of one model for every seed, with the best of the optimizers."""
    if spec["budget"] is None:
        return [cached_run({**spec, "seed": 0}, args.folder, runner) | {"searched": {}}]
    optimizer = "MuonAdamW"
    searched = {}
    if args.search:
        budget = f"{args.search * float(spec['budget'][:-1]):g}{spec['budget'][-1]}"
        trial = {**spec, "search": True, "seed": 0, "budget": budget}
        for key in OPTIMIZERS:
            found = cached_run({**trial, "optimizer": key}, args.folder, runner)
            searched[key] = found["validation"]
        optimizer = min(searched, key=lambda key: searched[key])
    runs = [
        cached_run({**spec, "optimizer": optimizer, "seed": seed}, args.folder, runner)
        for seed in range(args.seeds)
    ]
    return [{**run, "searched": searched} for run in runs]


def protocol(
    args: argparse.Namespace, data: Any, command: str, recipe: dict[str, Any]
) -> dict[str, Any]:
    """The conditions that all models share, and the machine."""
    tests = ", ".join(f"{len(rows)} test at {name}" for name, rows in data.tests.items())
    processor = platform.processor() or platform.machine()
    optimizer = "MuonAdamW for all"
    if args.search:
        optimizer = (
            f"best validation error of {', '.join(OPTIMIZERS)} after {args.search:g} of the budget "
            "each, seed 0; weight decay 0.01; MuonAdamW with the rates of the problem's settings"
        )
    return {
        "command": command,
        "budget": args.budget,
        "parameters": args.params,
        "seeds": args.seeds,
        "data": recipe,
        "batch_size": data.batch_size,
        "split": f"{len(data.train)} train, {len(data.val)} validation, {tests}",
        "optimizer": optimizer,
        "shared": SHARED,
        "symmetries": SYMMETRIES,
        "selection": SELECTION,
        "machine": f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    out = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    results = ROOT / "benchmarks" / "results"
    cache = ROOT / "runs" / "leaderboard"
    add = out.add_argument
    add("--problem", default="burgers", help="a file of configs/ without .yaml")
    add("--models", nargs="+", default=None, help="names, separated by blanks or commas")
    add("--budget", default="600s", help="seconds (600s) or epochs (50e) of training per run")
    add(
        "--search",
        type=float,
        default=0.2,
        help="share of the budget for each optimizer that is tried; 0: MuonAdamW for all",
    )
    add("--params", type=float, default=None, help="parameters per model; default: as configured")
    add("--seeds", type=int, default=3, help="runs per model")
    add("--folder", type=Path, default=cache, help="results of finished runs")
    add("--out", type=Path, default=results, help="folder of the table, figures and protocol")
    add("--name", default=None, help="stem of the files; default: the problem's name")
    add(
        "--paced",
        action="store_true",
        help="convert seconds to steps with step times measured side by side",
    )
    return out


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and the options it does not know, which are those of ``train.py``."""
    out = parser()
    args, extra = out.parse_known_args(argv)
    if args.models is not None:
        args.models = [name for words in args.models for name in words.split(",") if name]
    for name in args.models or ():
        if full_name(name).split("+")[0] != "field" and name not in BASELINES:
            parts = ", ".join(known(part).replace(f"{part}/", "") for part in COMPONENTS)
            out.error(
                f"there is no model {name!r}. Known: field, transformer, {parts}, "
                f"field+COMPONENT/NAME, {', '.join(BASELINES)}."
            )
    if args.budget[-1:] not in ("s", "e") or not args.budget[:-1].replace(".", "", 1).isdigit():
        out.error(f"--budget {args.budget!r} should be seconds such as 600s or epochs such as 50e.")
    if args.paced and args.budget[-1] != "s":
        out.error(
            f"--paced converts seconds to steps, but --budget is {args.budget}. "
            "Give seconds such as 600s."
        )
    if args.paced and torch.cuda.is_available():
        out.error(
            "--paced measures CPU time, but training runs on a GPU here. "
            "Remove the option; on a GPU a budget in seconds is comparable."
        )
    return args, extra


def supported(names: Sequence[str] | None, problem: str, data: FieldDataModule) -> list[str]:
    """The models that accept the problem's points.

    Raises:
        SystemExit: if a model was named explicitly that does not accept them.
    """
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
            f"leaderboard.py: {', '.join(unable)} need points that all samples share, but every "
            f"sample of {problem} has its own. Remove them from --models."
        )
    print(f"Omitted, since every sample of {problem} has its own points: {', '.join(unable)}.")
    return [*(name for name in DEFAULT if name not in unable), "MeanValue"]


def main(argv: Sequence[str] | None = None, runner: Runner = run_in_subprocess) -> None:
    """Runs the leaderboard; the table is rewritten after every model."""
    args, extra = arguments(argv)
    parts, _ = settings(args.problem, "", extra)
    parts.data.setup()
    args.models = supported(args.models, args.problem, parts.data)
    recipe = json.loads(parts.data.source.attrs.get("protocol", "{}") or "{}")
    published = {**recipe.get("published", {}), **PUBLISHED.get(args.problem, {})}
    command = f"python benchmarks/leaderboard.py {' '.join(sys.argv[1:] if argv is None else argv)}"
    record = protocol(args, parts.data, command, recipe)
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.name or Path(args.problem).name
    specs = {name: spec_for(name, args, extra) for name in args.models}
    if args.paced:
        specs = with_equal_time(specs, args.folder)
    note = (
        f"{record['split']}; {args.budget} per run{PACED if args.paced else ''}, "
        f"{args.seeds} seeds; optimizer: {record['optimizer']}.\n{record['machine']}.\n"
        f"Made by `{command}`.\n"
    )
    results: tables.Results = {}
    table = ""
    for name, spec in specs.items():
        results[name] = run_seeds(spec, args, runner)
        table = tables.table(results, published, args.params)
        (args.out / f"{stem}.md").write_text(f"# {stem}\n\n{table}\n\n{note}")
        content = {"protocol": record, "results": results}
        (args.out / f"{stem}.json").write_text(json.dumps(content, indent=1))
    for kind, png in tables.figures(results, parts.data.schema.grid).items():
        (args.out / f"{stem}_{kind}.png").write_bytes(png)
    print(table)


if __name__ == "__main__":
    main()
