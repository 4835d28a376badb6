"""One run from data to numbers: fit, keep the best, test at every resolution, beside the trivial predictor."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from fields.core.distributed import rank_and_size
from fields.data.datamodule import FieldDataModule
from fields.data.dataset import FieldDataset
from fields.inference.predict import average_over_symmetries
from fields.metrics.relative_l2 import RelativeL2, median_and_worst
from fields.models.base import Operator


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


@torch.no_grad()
def score(
    name: str,
    model: Operator,
    data: FieldDataModule,
    *,
    symmetries: Sequence[Mapping[str, Any]] = (),
    memory: float = 1e9,
) -> list[Score]:
    """Errors on every test set, each sample counted once, in float32."""
    model.eval()
    parameters, scores = sum(p.numel() for p in model.parameters()), []
    for test, loader in zip(data.tests, data.test_dataloader(), strict=True):
        metric, start = RelativeL2(), time.perf_counter()
        for batch in track(
            loader, f"testing {name} at {test}", transient=True, disable=rank_and_size()[0] > 0
        ):
            metric.update(
                average_over_symmetries(model, batch, symmetries, memory), batch.v, batch.y_mask
            )
        with metric.sync_context():  # several processes: each has seen a part of the samples
            scores.append(
                _score(name, test, parameters, metric.per_sample(), time.perf_counter() - start)
            )
    return scores


@torch.no_grad()
def score_mean_field(data: FieldDataModule) -> list[Score]:
    """The trivial predictor: the mean training field, interpolated to nothing else than the points it was averaged at.

    On grids finer than the training grid, and for scattered points, the mean value of every channel
    is used instead.
    """
    train = _mean_field(data.train) if data.train.shared_points is not None else None
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
            scores.append(
                _score("mean field", test, 0, metric.per_sample(), time.perf_counter() - start)
            )
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
