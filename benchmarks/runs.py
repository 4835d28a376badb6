"""One run of the leaderboard: a model trained, tested and measured under the shared recipe."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch

from benchmarks.cache import cached, digest, in_subprocess, peak_memory
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
WIDTH_STEP = {"field": 16, "Transolver": 4}  # widths are multiples of these
OPTIMIZERS: dict[str, Any] = {
    "MuonAdamW": None,  # as configured
    "AdamW 3e-3": partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.01),
    "AdamW 1e-3": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01),
}
RunSpec = dict[str, Any]
Compose = Callable[..., Operator]


def settings(problem: str, model: str, extra: Sequence[str] = ()) -> Any:
    """The instantiated settings of a problem and their YAML text.

    Args:
        problem: a file of ``configs/`` without ``.yaml``.
        model: ``field``, followed by further files of ``configs/`` joined with ``+``.
        extra: options as on the command line of ``train.py``.
    """
    files = [f"configs/{name}.yaml" for name in (problem, *model.split("+")[1:])]
    missing = [file for file in files if not (ROOT / file).is_file()]
    if missing:
        raise SystemExit(f"leaderboard: {missing[0]} does not exist. Known: {known('')}")
    parser = settings_parser()
    words = [word for file in files for word in ("--config", str(ROOT / file))]
    config = parser.parse_args(words + list(extra))
    make_missing_files(config.data, config.make)
    return parser.instantiate(config), parser.dump(config)


def open_problem(spec: RunSpec) -> tuple[Any, dict[str, Any]]:
    """The settings of a run with their data set up, and the model's schema and normalizer."""
    model = spec["model"] if spec["model"].startswith("field") else ""
    parts, _ = settings(spec["problem"], model, spec["extra"])
    parts.data.setup()
    schema: Schema = parts.data.schema
    return parts, {"schema": schema, "normalizer": Normalizer(schema, parts.data.statistics)}


def known(folder: str) -> str:
    """Names of the settings in a folder of ``configs``."""
    root = ROOT / "configs"
    files = (root / folder).rglob("*.yaml")
    return ", ".join(sorted(str(path.relative_to(root).with_suffix("")) for path in files))


def baseline(cls: Any, data: Any, width: int | None) -> Compose:
    """A function from schema and normalizer to the baseline model."""
    options: dict[str, int] = {} if width is None else {"width": width}
    if cls in SPECTRAL:
        options["modes"] = min(16, min(data.schema.grid or (16,)) // 2)
    if cls is PCANet:
        options["components"] = 64
    compose: Callable[..., Any] = partial(cls, **options)
    if hasattr(cls, "fit"):
        compose = partial(cls.fit, data.train, **options)
    if data.schema.dt is None or cls in FITTED:
        return compose

    def in_time(**problem: Any) -> Stepwise:
        return Stepwise(operator=cast(Any, compose(**problem)), **problem)

    return in_time


def task_of_size(
    spec: RunSpec, parts: Any, width: int | None, ratio: float | None = None
) -> tuple[Training | None, Compose]:
    """The training task of a model of this size, and the function that composes the model.

    The task is None for models that are fitted in closed form. Augmentation by the problem's
    symmetries requires a model that accepts arbitrary points; models on arrays or at fixed sensors
    are augmented only where the problem is homogeneous.
    """
    model = spec["model"]
    optimizer = OPTIMIZERS[spec["optimizer"] or "MuonAdamW"] or parts.model.optimizer
    if model.startswith("field"):
        parts.model.dim = width or parts.model.dim
        parts.model.optimizer = optimizer
        name = component_with_ratio(parts)
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


def component_with_ratio(parts: Any) -> str | None:
    """The component whose MLP ratio can be chosen: the decoder if it has one, or the processor."""
    names = ("decoder", "processor")
    return next((name for name in names if "ratio" in getattr(parts.model, name).keywords), None)


def fit_size(spec: RunSpec, parts: Any, problem: dict[str, Any]) -> tuple[int | None, float | None]:
    """The width, and for fields the MLP ratio, closest to the number of parameters of the spec.

    Heads of half the channels need widths in steps of 16; the ratio makes up the difference that
    one step of the width leaves.
    """
    target = spec["params"]
    model = spec["model"]
    if target is None or BASELINES.get(model) in FITTED:
        return None, None

    def count(width: int, ratio: float | None = None) -> int:
        operator = task_of_size(spec, parts, width, ratio)[1](**problem)
        return sum(p.numel() for p in operator.parameters())

    width = nearest_width(target, count, WIDTH_STEP.get(model.split("+")[0], 1))
    if not model.startswith("field") or component_with_ratio(parts) is None:
        return width, None
    # The nearest width, unless it is too large for any ratio.
    for fitting in (width, width - WIDTH_STEP["field"]):
        low, high = (count(fitting, ratio) for ratio in (1.0, 2.0))
        ratio = round(8 * (1 + (target - low) / (high - low))) / 8
        if ratio >= 0.5:
            break
    return fitting, min(max(ratio, 0.5), 8.0)


def nearest_width(target: float, count: Callable[[int], int], step: int) -> int:
    """The multiple of ``step`` whose number of parameters is closest to the target, by bisection.

    ``count`` must grow with the width.
    """
    low = 1
    high = 2
    while count(high * step) < target and high < 512:
        low = high
        high = 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle * step) < target else (low, middle)
    return step * min((low, high), key=lambda k: abs(count(k * step) - target))


def run(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """Trains, tests and measures one model; resumes from its last complete epoch.

    Runs of the optimizer search are validated but not tested.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    start = time.process_time()
    parts, problem = open_problem(spec)
    width, ratio = fit_size(spec, parts, problem)
    L.seed_everything(spec["seed"], workers=True, verbose=False)
    task, compose = task_of_size(spec, parts, width, ratio)
    out: dict[str, Any] = {"width": width, "ratio": ratio}
    out |= {"seconds": 0.0, "steps": 0, "history": []}
    operator = compose(**problem) if task is None else fitted(task, parts, spec, folder, out)
    out["parameters"] = sum(p.numel() for p in operator.parameters())
    if not spec["search"]:
        out["scores"] = [asdict(one) for one in score(spec["model"], operator, parts.data)]
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    out["memory"] = gpu or peak_memory()
    return out | {"cpu_seconds": time.process_time() - start}


def fitted(
    task: Training, parts: Any, spec: RunSpec, folder: Path, out: dict[str, Any]
) -> Operator:
    """The model, trained for the budget (seconds, epochs or steps); adds the cost to ``out``."""
    amount = float(spec["budget"][:-1])
    unit = spec["budget"][-1]
    task.seed = spec["seed"]
    task.seconds = amount if unit == "s" else None
    options = {
        **vars(parts.trainer),
        "max_epochs": max(1, round(amount)) if unit == "e" else 100_000,
        "precision": matmul_precision(parts.run.bf16),
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    if unit == "n":
        options["max_steps"] = round(amount)
    trainer = fit(task, parts.data, folder, resume=(folder / "last.ckpt").is_file(), **options)
    out |= {
        "seconds": task.elapsed,
        "steps": trainer.global_step,
        "history": task.history,
        "precision": options["precision"],
        "validation": min((h["val_error"] for h in task.history), default=float("inf")),
    }
    assert task.model is not None  # composed at the start of the fit
    return task.model


def run_in_subprocess(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """`run` in a process of its own, so that its peak memory is its own."""
    return in_subprocess(run, spec, folder)


def cached_run(
    spec: RunSpec, folder: Path, runner: Callable[[RunSpec, Path], dict[str, Any]]
) -> dict[str, Any]:
    """The result of a run, from its file in ``folder`` if it has been run before."""
    key = digest(spec)
    work = folder / key

    def compute() -> dict[str, Any]:
        search = f"search with {spec['optimizer']}"
        label = search if spec["search"] else f"seed {spec['seed']}"
        print(f"{spec['model']}, {label} …", flush=True)
        return {"spec": spec, **runner(spec, work)}

    result: dict[str, Any] = cached(folder / f"{key}.json", compute)
    shutil.rmtree(work, ignore_errors=True)  # checkpoints of a finished run
    return result
