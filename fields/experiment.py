"""One run from data to numbers: fit, keep the best, test at every resolution, beside the trivial predictor."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from rich.progress import track
from torch import Tensor

from fields.data import FieldDataset
from fields.datamodule import FieldDataModule
from fields.metrics import RelativeL2, median_and_worst
from fields.operator import Operator
from fields.predict import averaged
from fields.progress import Meter
from fields.ranks import place
from fields.task import Training

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """Relative L2 of one model on one test set, in physical units."""

    model: str
    test: str
    parameters: int
    mean: float
    median: float
    worst: float
    samples: int
    seconds: float
    median_index: int
    worst_index: int


class WholeFiles(TorchCheckpointIO):
    """A checkpoint takes its name when it is complete: a run killed while it writes still has the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes beside, then renames."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        torch.save(checkpoint, part)
        os.replace(part, path)


def fit(task: Training, data: FieldDataModule, folder: Path, *, resume: bool = False, **trainer: Any) -> L.Trainer:
    """Trains, keeps ``best`` by the validation error and ``last`` for resuming in ``folder``, and leaves ``task`` at its best.

    Everything needed to continue is written after every epoch; a run that was interrupted or killed goes on with ``resume``,
    from its beginning if it had not come further, to the same weights.

    Raises:
        KeyboardInterrupt: interrupted, or asked to end by SIGTERM.
    """
    L.seed_everything(task.seed, workers=True, verbose=False)
    keep = ModelCheckpoint(folder, filename="best", monitor="val_error", save_last=True, enable_version_counter=False)
    own = {"default_root_dir": folder, "logger": False, "use_distributed_sampler": False, "plugins": [WholeFiles()]}
    shown = [] if trainer.get("enable_progress_bar") is False else [Meter()]
    run = L.Trainer(callbacks=[keep, *shown, *trainer.pop("callbacks", ())], **own, **processes(trainer))
    last = folder / "last.ckpt"
    begun = resume and last.is_file()
    if resume and not begun:
        log.info("%s has no complete epoch yet: starting from the beginning.", folder)
    try:
        run.fit(task, datamodule=data, ckpt_path=str(last) if begun else None, weights_only=False)
    except SystemExit:  # Lightning's answer to Ctrl-C and SIGTERM
        if run.interrupted:
            raise KeyboardInterrupt from None
        raise
    best = keep.best_model_path  # none if the run ended before its first validation
    task.settle(torch.load(best, weights_only=False, map_location="cpu")["state_dict"] if best else None)
    return run


def processes(trainer: dict[str, Any]) -> dict[str, Any]:
    """Trainer options for all processes that torchrun started: DDP unless told otherwise; ``fsdp`` shards every weight.

    Raises:
        ValueError: a strategy that cannot train these models.
    """
    ranks, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    strategy = trainer.get("strategy", "auto")
    if "LOCAL_WORLD_SIZE" in os.environ and ranks > 1:
        trainer = {**trainer, "devices": here, "num_nodes": ranks // here, "strategy": "ddp" if strategy == "auto" else strategy}
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "`FSDPStrategy` flattens weights into vectors, which Muon cannot step and gradients of which Lightning cannot clip by "
            "their norm. Use `--trainer.strategy fsdp`, PyTorch's second version, which keeps their shapes."
        )
    if strategy == "fsdp":
        if ranks == 1:
            raise ValueError("Strategy 'fsdp' shards weights among processes, and this is one. Use `torchrun --nproc-per-node=N`.")
        trainer["strategy"] = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    return trainer


@torch.no_grad()
def score(
    name: str, model: Operator, data: FieldDataModule, *, symmetries: Sequence[Mapping[str, Any]] = (), memory: float = 1e9
) -> list[Score]:
    """Errors on every test set, each sample counted once, in float32."""
    model.eval()
    parameters, scores = sum(p.numel() for p in model.parameters()), []
    for test, loader in zip(data.tests, data.test_dataloader(), strict=True):
        metric, start = RelativeL2(), time.perf_counter()
        for batch in track(loader, f"testing {name} at {test}", transient=True, disable=place()[0] > 0):
            metric.update(averaged(model, batch, symmetries, memory), batch.v, batch.y_mask)
        with metric.sync_context():  # several processes: each has seen a part of the samples
            scores.append(_score(name, test, parameters, metric.per_sample(), time.perf_counter() - start))
    return scores


@torch.no_grad()
def score_mean(data: FieldDataModule) -> list[Score]:
    """The trivial predictor: the mean training field, interpolated to nothing else than the points it was averaged at.

    On grids finer than the training grid, and for scattered points, the mean value of every channel is used instead.
    """
    train = _mean_field(data.train) if data.train.shared is not None else None
    channels = torch.tensor([data.statistics[n][0] for n in data.train.schema.outputs])
    scores = []
    for test, loader in zip(data.tests, data.test_dataloader(), strict=True):
        metric, start = RelativeL2(), time.perf_counter()
        for batch in loader:
            field = channels.expand_as(batch.v)
            if train is not None and batch.v.shape[1:] == train.shape:
                field = train.expand_as(batch.v)
            metric.update(field, batch.v, batch.y_mask)
        with metric.sync_context():
            scores.append(_score("mean field", test, 0, metric.per_sample(), time.perf_counter() - start))
    return scores


def _mean_field(data: FieldDataset) -> Tensor:
    """(s m o) mean of the targets, added up one by one in float64: the file may be larger than memory."""
    total = data[0].v.double()
    for i in range(1, len(data)):
        total += data[i].v
    return (total / len(data)).float()


def _score(name: str, test: str, parameters: int, errors: Tensor, seconds: float) -> Score:
    middle, last = median_and_worst(errors)
    return Score(
        model=name,
        test=test,
        parameters=parameters,
        mean=float(errors.mean()),
        median=float(errors.median()),
        worst=float(errors.max()),
        samples=len(errors),
        seconds=seconds,
        median_index=middle,
        worst_index=last,
    )
