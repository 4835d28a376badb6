"""Trains a list of models on one problem on equal terms and writes a table, two figures and the protocol.

    python benchmarks/leaderboard.py --problem darcy16 --budget 600s --params 1e6 --seeds 3 --models field FNO UNet

The problem is ``configs/PROBLEM.yaml``: its data, its training of the field and its trainer. A model is ``field`` (as configured),
``field+decoder/film`` (with ``configs/decoder/film.yaml`` on top; several parts may follow) or a baseline by name. Widths
are chosen so that parameters are as close to ``--params`` as they come; the budget is wall time of training (``600s``) or
epochs (``50e``) for every model alike. Fields train with the optimiser of the configuration, baselines with AdamW (3e-3).

Every cell (model, seed) runs in a process of its own, whose peak memory is reported, and is kept in ``--folder`` under the
hash of its settings: an interrupted leaderboard goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import platform
import resource
import shutil
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lightning.pytorch as L
import numpy as np
import torch

import train
from fields import plot
from fields.baselines.deeponet import DeepONet
from fields.baselines.fno import FNO
from fields.baselines.kernel_ridge import KernelRidge
from fields.baselines.pca_net import PCANet
from fields.baselines.tfno import TFNO
from fields.baselines.transolver import Transolver
from fields.baselines.trivial import MeanField, Persistence
from fields.baselines.unet import UNet
from fields.baselines.uno import UNO
from fields.experiment import fit, score
from fields.normalizer import Normalizer
from fields.operator import Operator
from fields.sample import Schema
from fields.task import BaselineTraining, Training

ROOT = Path(__file__).resolve().parents[1]
SPECTRAL, FITTED = (FNO, TFNO, UNO), (KernelRidge, MeanField, Persistence)
BASELINES = {cls.__name__: cls for cls in (*SPECTRAL, UNet, Transolver, DeepONet, PCANet, *FITTED)}
STEP = {"field": 16, "Transolver": 4}  # widths are multiples of it
DEFAULT = ["field", "FNO", "UNet", "DeepONet", "PCANet", "Transolver", "KernelRidge", "MeanField"]
Cell = dict[str, Any]
Compose = Callable[..., Operator]


def settings(problem: str, model: str, extra: Sequence[str] = ()) -> Any:
    """Parsed settings of the problem, with the parts that the model's name asks for."""
    files = [f"configs/{problem}.yaml", *(f"configs/{part}.yaml" for part in model.split("+")[1:])]
    missing = [file for file in files if not (ROOT / file).is_file()]
    if missing:
        raise SystemExit(f"leaderboard: there is no {missing[0]}. Known: {known('')}")
    parser = train.parser()
    config = parser.parse_args([word for file in files for word in ("--config", str(ROOT / file))] + list(extra))
    train.make(Path(config.data.path), config.make)
    return parser.instantiate(config), parser.dump(config)


def known(folder: str) -> str:
    """Names of the problems and parts that are configured."""
    return ", ".join(sorted(str(p.relative_to(ROOT / "configs").with_suffix("")) for p in (ROOT / "configs").rglob("*.yaml")))


def baseline(cls: Any, data: Any, width: int | None) -> Compose:
    """From schema and normaliser to the model."""
    options: dict[str, int] = {} if width is None else {"width": width}
    if cls in SPECTRAL:
        options["modes"] = min(16, min(data.schema.grid or (16,)) // 2)
    if cls is PCANet:
        options["components"] = 64
    return partial(cls.fit, data.train, **options) if hasattr(cls, "fit") else partial(cls, **options)


def sized(model: str, parts: Any, width: int | None) -> tuple[Training | None, Compose]:
    """The training of a model of this width, and how the model is composed; no training for what is only fitted."""
    if model.startswith("field"):
        parts.model.dim = width or parts.model.dim
        return parts.model, parts.model.compose
    operator = baseline(BASELINES[model], parts.data, width)
    if BASELINES[model] in FITTED:
        return None, operator
    optimizer = partial(torch.optim.AdamW, lr=3e-3, weight_decay=1e-4)
    return BaselineTraining(operator, optimizer=optimizer, augment=all(parts.data.schema.homogeneous)), operator


def width_for(target: float, count: Callable[[int], int], step: int) -> int:
    """The multiple of ``step`` whose number of parameters is nearest to the target; counts grow with the width."""
    low, high = 1, 2
    while count(high * step) < target and high < 512:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle * step) < target else (low, middle)
    return step * min((low, high), key=lambda k: abs(count(k * step) - target))


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """Trains, tests and measures one cell; goes on from its last complete epoch if it has one."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    model = cell["model"]
    parts, _ = settings(cell["problem"], model if model.startswith("field") else "", cell["extra"])
    parts.data.setup()
    schema: Schema = parts.data.schema
    normalizer = Normalizer(schema, parts.data.statistics)

    def count(width: int) -> int:
        made = sized(model, parts, width)[1](schema=schema, normalizer=normalizer)
        return sum(p.numel() for p in made.parameters())

    L.seed_everything(cell["seed"], workers=True, verbose=False)
    fitted = model in BASELINES and BASELINES[model] in FITTED
    width = None if fitted or cell["params"] is None else width_for(cell["params"], count, STEP.get(model.split("+")[0], 1))
    task, compose = sized(model, parts, width)
    out: dict[str, Any] = {"width": width, "seconds": 0.0, "steps": 0, "history": []}
    if task is None:
        operator = compose(schema=schema, normalizer=normalizer)
    else:
        out |= trained(task, parts, cell, folder)
        operator = task.model
    out["scores"] = [asdict(one) for one in score(model, operator, parts.data)]
    unit = 1 if platform.system() == "Darwin" else 1024
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    out["memory"] = gpu or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return out | {"parameters": out["scores"][0]["parameters"]}


def trained(task: Training, parts: Any, cell: Cell, folder: Path) -> dict[str, Any]:
    """Spends the cell's budget on the task."""
    amount, kind = float(cell["budget"][:-1]), cell["budget"][-1]
    task.seed, task.seconds = cell["seed"], amount if kind == "s" else None
    options = {**vars(parts.trainer), "max_epochs": 100_000 if kind == "s" else int(amount), "enable_model_summary": False}
    resume = (folder / "last.ckpt").is_file()
    trainer = fit(task, parts.data, folder, resume=resume, **{**options, "enable_progress_bar": False})
    return {"seconds": task.elapsed, "steps": trainer.global_step, "history": task.history}


def isolated(cell: Cell, folder: Path) -> dict[str, Any]:
    """`run` in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, cell, folder).result()


def cached(cell: Cell, folder: Path, how: Callable[[Cell, Path], dict[str, Any]]) -> dict[str, Any]:
    """The result of a cell, from its file if it has run before."""
    key = hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:16]
    file, work = folder / f"{key}.json", folder / key
    if not file.is_file():
        print(f"{cell['model']}, seed {cell['seed']} …", flush=True)
        result = how(cell, work)
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"cell": cell, **result}))
        part.replace(file)
        shutil.rmtree(work, ignore_errors=True)  # its checkpoints, needed no more
    return json.loads(file.read_text())


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    sd = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{sd}"


def table(results: dict[str, list[dict[str, Any]]], published: dict[str, str], target: float | None) -> str:
    """Markdown: our runs, then published numbers in a column of their own."""
    head = ["model", "test", "mean", "median", "worst", "parameters", "ms/step", "ms/sample", "peak MB", "published"]
    rows = []
    for name, runs in results.items():
        off = target is not None and runs[0]["width"] is not None and abs(runs[0]["parameters"] / target - 1) > 0.05
        for i, test in enumerate(runs[0]["scores"]):
            scores = [one["scores"][i] for one in runs]
            errors = [spread([s[key] for s in scores]) for key in ("mean", "median", "worst")]
            step = [1e3 * one["seconds"] / one["steps"] for one in runs if one["steps"]]
            answer = statistics.mean(1e3 * s["seconds"] / s["samples"] for s in scores)
            memory = max(one["memory"] for one in runs) / 1e6
            size = f"{runs[0]['parameters']:,}{' (off by more than 5 %)' if off else ''}"
            pace = f"{statistics.mean(step):.1f}" if step else "–"
            rows.append([name, test["test"], *errors, size, pace, f"{answer:.2f}", f"{memory:.0f}", ""])
    rows += [[name, *[""] * (len(head) - 2), text] for name, text in published.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def figures(results: dict[str, list[dict[str, Any]]], grid: tuple[int, ...] | None) -> dict[str, bytes]:
    """Validation error in training time, and test error against resolution (grids of more than one)."""
    first = {name: runs[0]["history"] for name, runs in results.items() if runs[0]["history"]}
    curve = {n: plot.Curve(*(np.array([h[key] for h in log]) for key in ("seconds", "val_error"))) for n, log in first.items()}
    out = {"time": plot.png(plot.loss_figure(curve, x_label="training time (s), seed 0"))} if curve else {}
    tests = next(iter(results.values()))[0]["scores"]
    if grid is not None and len(tests) > 1:
        x = np.array([int(t["test"].split("x")[0]) for t in tests])
        means = {n: np.array([[s["mean"] for s in one["scores"]] for one in runs]) for n, runs in results.items()}
        order = x.argsort()
        lines = {n: plot.Curve(x[order], m.mean(0)[order], m.min(0)[order], m.max(0)[order]) for n, m in means.items()}
        out["resolution"] = plot.png(plot.resolution_figure(lines, trained_at=grid[0]))
    return out


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command line; what it does not know goes to the settings of ``train.py``."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--problem", default="burgers", help="a file of configs/ without .yaml")
    out.add_argument("--models", nargs="+", default=DEFAULT)
    out.add_argument("--budget", default="600s", help="seconds (600s) or epochs (50e) of training per cell")
    out.add_argument("--params", type=float, default=None, help="parameters of every model; none: as configured")
    out.add_argument("--seeds", type=int, default=3)
    out.add_argument("--folder", type=Path, default=ROOT / "runs" / "leaderboard", help="finished cells")
    out.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="table, figures, protocol")
    args, extra = out.parse_known_args(argv)
    for name in args.models:
        if name.split("+")[0] != "field" and name not in BASELINES:
            out.error(f"there is no model {name!r}. Known: field, field+PART/NAME, {', '.join(BASELINES)}.")
    if args.budget[-1:] not in ("s", "e") or not args.budget[:-1].replace(".", "", 1).isdigit():
        out.error(f"--budget {args.budget!r} should be seconds such as 600s or epochs such as 50e.")
    return args, extra


def main(argv: Sequence[str] | None = None, how: Callable[[Cell, Path], dict[str, Any]] = isolated) -> None:
    args, extra = arguments(argv)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in args.models:
        fitted = name in BASELINES and BASELINES[name] in FITTED
        parts, dump = settings(args.problem, name if name not in BASELINES else "", extra)
        shared = {"problem": args.problem, "model": name, "params": args.params, "extra": extra, "settings": dump}
        shared |= {"budget": None if fitted else args.budget, "torch": torch.__version__, "threads": torch.get_num_threads()}
        seeds = range(1 if fitted else args.seeds)
        results[name] = [cached({**shared, "seed": seed}, args.folder, how) for seed in seeds]
    parts.data.setup()
    recipe = json.loads(parts.data.source.attrs.get("protocol", "{}") or "{}")
    words = table(results, recipe.get("published", {}), args.params)
    command = f"python benchmarks/leaderboard.py {' '.join(sys.argv[1:] if argv is None else argv)}"
    tests = ", ".join(f"{len(rows)} test at {name}" for name, rows in parts.data.tests.items())
    protocol = {
        "command": command,
        "budget": args.budget, "parameters": args.params, "seeds": args.seeds, "data": recipe,
        "split": f"{len(parts.data.train)} train, {len(parts.data.val)} validation, {tests}",
        "selection": "weights of the best validation error; the test split is used once; relative L2 in physical units",
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    note = f"{protocol['split']}; {args.budget} per run, {args.seeds} seeds; {protocol['machine']}.\nMade by `{command}`."
    (args.out / f"{args.problem}.md").write_text(f"# {args.problem}\n\n{words}\n\n{note}\n")
    (args.out / f"{args.problem}.json").write_text(json.dumps({"protocol": protocol, "results": results}, indent=1))
    for kind, png in figures(results, parts.data.schema.grid).items():
        (args.out / f"{args.problem}_{kind}.png").write_bytes(png)
    print(words)


if __name__ == "__main__":
    main()
