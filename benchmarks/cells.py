"""One cell of the leaderboard: one model, trained, tested and measured under the recipe that all share."""

from __future__ import annotations

import logging
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lightning.pytorch as L
import torch

from benchmarks.kept import alone, kept, peak_memory, stamp
from fields.baselines.base import SensorOperator
from fields.baselines.deeponet import DeepONet
from fields.baselines.fno import FNO
from fields.baselines.grid import GridOperator
from fields.baselines.kernel_ridge import KernelRidge
from fields.baselines.pca_net import PCANet
from fields.baselines.stepwise import Stepwise
from fields.baselines.tfno import TFNO
from fields.baselines.transolver import Transolver
from fields.baselines.trivial import MeanField, MeanValue, Persistence
from fields.baselines.unet import UNet
from fields.baselines.uno import UNO
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer
from fields.evaluation.scoring import score
from fields.models.base import Operator
from fields.training.catalogue import make_missing_files
from fields.training.fit import fit
from fields.training.run import matmul_precision
from fields.training.settings import settings_parser
from fields.training.task import BaselineTraining, Training

ROOT = Path(__file__).resolve().parents[1]
SPECTRAL: tuple[Any, ...] = (FNO, TFNO, UNO)
FITTED: tuple[Any, ...] = (KernelRidge, MeanField, MeanValue, Persistence)
BASELINES: dict[str, Any] = {
    cls.__name__: cls for cls in (*SPECTRAL, UNet, Transolver, DeepONet, PCANet, *FITTED)
}
STEP = {"field": 16, "Transolver": 4}  # widths are multiples of it
OPTIMIZERS: dict[str, Any] = {
    "MuonAdamW": None,  # the one of the settings
    "AdamW 3e-3": partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.01),
    "AdamW 1e-3": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01),
}
Cell = dict[str, Any]
Compose = Callable[..., Operator]


def settings(problem: str, model: str, extra: Sequence[str] = ()) -> Any:
    """Parsed settings of the problem, with the parts that the model's name asks for."""
    files = [f"configs/{problem}.yaml", *(f"configs/{part}.yaml" for part in model.split("+")[1:])]
    missing = [file for file in files if not (ROOT / file).is_file()]
    if missing:
        raise SystemExit(f"leaderboard: there is no {missing[0]}. Known: {known('')}")
    parser = settings_parser()
    config = parser.parse_args(
        [word for file in files for word in ("--config", str(ROOT / file))] + list(extra)
    )
    make_missing_files(config.data, config.make)
    return parser.instantiate(config), parser.dump(config)


def opened(cell: Cell) -> tuple[Any, dict[str, Any]]:
    """The parts that a cell asks for, its data set up, and what models are composed for: schema and normalizer."""
    parts, _ = settings(
        cell["problem"], cell["model"] if cell["model"].startswith("field") else "", cell["extra"]
    )
    parts.data.setup()
    schema: Schema = parts.data.schema
    return parts, {"schema": schema, "normalizer": Normalizer(schema, parts.data.statistics)}


def known(folder: str) -> str:
    """Names of the settings in a folder of ``configs``."""
    root = ROOT / "configs"
    return ", ".join(
        sorted(
            str(path.relative_to(root).with_suffix("")) for path in (root / folder).rglob("*.yaml")
        )
    )


def baseline(cls: Any, data: Any, width: int | None) -> Compose:
    """From schema and normalizer to the model."""
    options: dict[str, int] = {} if width is None else {"width": width}
    if cls in SPECTRAL:
        options["modes"] = min(16, min(data.schema.grid or (16,)) // 2)
    if cls is PCANet:
        options["components"] = 64
    made: Callable[..., Any] = (
        partial(cls.fit, data.train, **options) if hasattr(cls, "fit") else partial(cls, **options)
    )
    if data.schema.dt is None or cls in FITTED:
        return made

    def in_time(**problem: Any) -> Stepwise:
        return Stepwise(operator=cast(Any, made(**problem)), **problem)

    return in_time


def sized(
    cell: Cell, parts: Any, width: int | None, ratio: float | None = None
) -> tuple[Training | None, Compose]:
    """The training of a model of this size, and how the model is composed; no training for what is only fitted.

    Moving the points by the problem's symmetries needs a model that takes points as they come.
    Models of arrays and of fixed sensors are moved only where the problem is homogeneous, which is
    what they can follow.
    """
    model, optimizer = (
        cell["model"],
        OPTIMIZERS[cell["optimizer"] or "MuonAdamW"] or parts.model.optimizer,
    )
    if model.startswith("field"):
        parts.model.dim, parts.model.optimizer = width or parts.model.dim, optimizer
        name = fine_part(parts)
        if ratio is not None and name is not None:
            setattr(parts.model, name, partial(getattr(parts.model, name), ratio=ratio))
        return parts.model, parts.model.compose
    cls = BASELINES[model]
    operator = baseline(cls, parts.data, width)
    if cls in FITTED:
        return None, operator
    augment = not issubclass(cls, GridOperator | SensorOperator) or all(
        parts.data.schema.homogeneous
    )
    return BaselineTraining(operator, optimizer=optimizer, augment=augment), operator


def fine_part(parts: Any) -> str | None:
    """The part of a field whose MLPs' ratio can be chosen: the decoder's where it has some, else the processor's."""
    return next(
        (
            name
            for name in ("decoder", "processor")
            if "ratio" in getattr(parts.model, name).keywords
        ),
        None,
    )


def size_for(cell: Cell, parts: Any, problem: dict[str, Any]) -> tuple[int | None, float | None]:
    """Width, and for fields the ratio of one part's MLPs, with which the parameters are nearest to those of the cell.

    The MLPs take up what a step of the width leaves: heads of half the channels need widths in
    steps of 16.
    """
    target, model = cell["params"], cell["model"]
    if target is None or BASELINES.get(model) in FITTED:
        return None, None

    def count(width: int, ratio: float | None = None) -> int:
        return sum(p.numel() for p in sized(cell, parts, width, ratio)[1](**problem).parameters())

    width = width_for(target, count, STEP.get(model.split("+")[0], 1))
    if not model.startswith("field") or fine_part(parts) is None:
        return width, None
    for fitting in (
        width,
        width - STEP["field"],
    ):  # the nearest width, unless too large for any ratio
        low, high = (count(fitting, ratio) for ratio in (1.0, 2.0))
        ratio = round(8 * (1 + (target - low) / (high - low))) / 8
        if ratio >= 0.5:
            break
    return fitting, min(max(ratio, 0.5), 8.0)


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
    """Trains, tests and measures one cell; goes on from its last complete epoch if it has one. A search is not tested."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    model, begun = cell["model"], time.process_time()
    parts, problem = opened(cell)
    width, ratio = size_for(cell, parts, problem)
    L.seed_everything(cell["seed"], workers=True, verbose=False)
    task, compose = sized(cell, parts, width, ratio)
    out: dict[str, Any] = {
        "width": width,
        "ratio": ratio,
        "seconds": 0.0,
        "steps": 0,
        "history": [],
    }
    operator = compose(**problem) if task is None else trained(task, parts, cell, folder, out)
    out["parameters"] = sum(p.numel() for p in operator.parameters())
    if not cell["search"]:
        out["scores"] = [asdict(one) for one in score(model, operator, parts.data)]
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    out["memory"] = gpu or peak_memory()
    return out | {"cpu_seconds": time.process_time() - begun}


def trained(task: Training, parts: Any, cell: Cell, folder: Path, out: dict[str, Any]) -> Operator:
    """Spends the cell's budget (seconds, epochs or steps) on the task and notes what it took."""
    amount, kind = float(cell["budget"][:-1]), cell["budget"][-1]
    task.seed, task.seconds = cell["seed"], amount if kind == "s" else None
    options = {
        **vars(parts.trainer),
        "max_epochs": max(1, round(amount)) if kind == "e" else 100_000,
    }
    options |= {"max_steps": round(amount)} if kind == "n" else {}
    options |= {
        "precision": matmul_precision(parts.run.bf16),
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    trainer = fit(task, parts.data, folder, resume=(folder / "last.ckpt").is_file(), **options)
    out |= {
        "seconds": task.elapsed,
        "steps": trainer.global_step,
        "history": task.history,
        "precision": options["precision"],
    }
    out["validation"] = min((h["val_error"] for h in task.history), default=float("inf"))
    assert task.model is not None  # composed when it was fitted
    return task.model


def isolated(cell: Cell, folder: Path) -> dict[str, Any]:
    """`run` in a process of its own."""
    return alone(run, cell, folder)


def cached(cell: Cell, folder: Path, how: Callable[[Cell, Path], dict[str, Any]]) -> dict[str, Any]:
    """The result of a cell, from its file if it has run before."""
    key = stamp(cell)
    work = folder / key

    def fresh() -> dict[str, Any]:
        words = f"search with {cell['optimizer']}" if cell["search"] else f"seed {cell['seed']}"
        print(f"{cell['model']}, {words} …", flush=True)
        return {"cell": cell, **how(cell, work)}

    result: dict[str, Any] = kept(folder / f"{key}.json", fresh)
    shutil.rmtree(work, ignore_errors=True)  # its checkpoints, needed no more
    return result
