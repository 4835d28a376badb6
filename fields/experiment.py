"""One run from data to numbers: fit, keep the best, test at every resolution, beside the trivial predictor."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from rich.progress import track
from torch import Tensor

from fields.data import FieldDataset
from fields.datamodule import FieldDataModule
from fields.metrics import RelativeL2, median_and_worst
from fields.operator import Operator
from fields.predict import averaged
from fields.task import Training


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


def fit(task: Training, data: FieldDataModule, folder: Path, *, resume: bool = False, **trainer: Any) -> L.Trainer:
    """Trains, keeps ``best`` by the validation error and ``last`` for resuming in ``folder``, and leaves ``task`` at its best.

    Everything needed to continue is written after every epoch; an interrupted run goes on with ``resume``.
    """
    keep = ModelCheckpoint(folder, filename="best", monitor="val_error", save_last=True, enable_version_counter=False)
    callbacks = [keep, EMAWeightAveraging(decay=0.98), *trainer.pop("callbacks", ())]
    run = L.Trainer(default_root_dir=folder, callbacks=callbacks, logger=False, **trainer)
    last = folder / "last.ckpt"
    if resume and not last.is_file():
        raise FileNotFoundError(f"There is nothing to resume in {folder}: no {last.name}. Start without --resume.")
    run.fit(task, datamodule=data, ckpt_path=str(last) if resume else None, weights_only=False)
    if run.interrupted:
        raise KeyboardInterrupt
    if keep.best_model_path:  # none if the run ended before its first validation
        task.load_state_dict(torch.load(keep.best_model_path, weights_only=False)["state_dict"])
    return run


@torch.no_grad()
def score(
    name: str, model: Operator, data: FieldDataModule, *, symmetries: Sequence[Mapping[str, Any]] = (), memory: float = 1e9
) -> list[Score]:
    """Errors on every test set, each sample counted once, in float32."""
    model.eval()
    parameters, scores = sum(p.numel() for p in model.parameters()), []
    for test, loader in zip(data.tests, data.test_dataloader(), strict=True):
        metric, start = RelativeL2(), time.perf_counter()
        for batch in track(loader, f"testing {name} at {test}", transient=True):
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
