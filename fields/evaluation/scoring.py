"""Errors of static models on every test set, beside those of the mean training field."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from rich.markup import escape
from rich.progress import track
from torch import Tensor
from torchmetrics import Metric

from fields.core.distributed import rank_and_size
from fields.core.sample import Sample, Schema
from fields.data.datamodule import FieldDataModule
from fields.data.dataset import FieldDataset
from fields.evaluation.metric_set import MetricSet, default_metrics
from fields.inference.predict import average_over_symmetries
from fields.metrics.losses import output_relative_l2
from fields.metrics.relative_l2 import RelativeL2, median_and_worst
from fields.models.base import Operator

MEAN_FIELD = "mean field"


@dataclass(frozen=True)
class Score:
    """Errors of one model on one test set, in physical units.

    The error of a sample is the mean of the relative L2 errors of its outputs, each of which does
    not depend on the unit. Errors of predictions that are not finite are infinite: they are the
    worst, and so is the mean.

    Args:
        model: its name.
        test: name of the test set, usually its resolution.
        parameters: number of the model's parameters.
        mean, median, worst: of the error over the samples.
        samples: number of samples.
        seconds: wall time of all predictions.
        median_index, worst_index: the samples with these errors.
        metrics: further metrics by name.
        outputs: mean relative L2 of every output by name.
        not_finite: number of samples whose prediction is not finite.

    Example:
        >>> score = Score("model", "64", 31824, mean=0.01, median=0.008, worst=0.05, samples=200,
        ...               seconds=1.2, median_index=17, worst_index=4, metrics={"VRMSE": 0.02})
        >>> score.metrics["VRMSE"]
        0.02
    """

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
    metrics: dict[str, float]
    outputs: dict[str, float] = field(default_factory=dict)
    not_finite: int = 0


@torch.no_grad()
def score(
    name: str,
    model: Operator,
    data: FieldDataModule,
    *,
    metrics: Mapping[str, Metric] | None = None,
    symmetries: Sequence[Mapping[str, Any]] = (),
    memory: float = 1e9,
    only: Collection[str] | None = None,
) -> list[Score]:
    """Errors of a model on every test set, each sample counted once, in float32.

    Args:
        name: of the model, for tables and pictures.
        model: predicts the test samples.
        data: with the test sets.
        metrics: by name, in addition to `default_metrics`.
        symmetries: predictions are averaged over the group that these generate.
        memory: bytes that one pass may take.
        only: names of the test sets; all by default.
    """
    model.eval()
    parameters = sum(p.numel() for p in model.parameters())

    def predict(batch: Sample) -> Float[Tensor, "b s m o"]:
        return average_over_symmetries(model, batch, symmetries, memory)

    scores = []
    for test, loader in zip(data.tests, data.test_dataloader(), strict=True):
        if only is not None and test not in only:
            continue
        batches = track(
            loader,
            escape(f"testing {name} at {test}"),
            transient=True,
            disable=rank_and_size()[0] > 0,
        )
        scores.append(
            _score(
                name,
                test,
                parameters,
                predict,
                batches,
                data.tests[test].schema,
                _metrics(data.tests[test], metrics),
            )
        )
    return scores


@torch.no_grad()
def score_mean_field(
    data: FieldDataModule, *, metrics: Mapping[str, Metric] | None = None
) -> list[Score]:
    """Errors of the mean training field, v̂(y) = mean_samples v(y), on every test set.

    At other points than those of the training grid, and for scattered points, the mean value of
    each channel is predicted instead; nothing is interpolated.

    Args:
        data: with the training and the test sets.
        metrics: by name, in addition to `default_metrics`.
    """
    field = _mean_field(data.train) if data.train.shared_points is not None else None
    channels = torch.tensor([data.statistics[n][0] for n in data.train.schema.outputs])

    def predict(batch: Sample) -> Float[Tensor, "b s m o"]:
        if field is not None and batch.v.shape[1:] == field.shape:
            return field.expand_as(batch.v)
        return channels.expand_as(batch.v)

    return [
        _score(
            MEAN_FIELD,
            test,
            0,
            predict,
            loader,
            data.tests[test].schema,
            _metrics(data.tests[test], metrics),
        )
        for test, loader in zip(data.tests, data.test_dataloader(), strict=True)
    ]


def _mean_field(data: FieldDataset) -> Float[Tensor, "s m o"]:
    """Mean of the targets, summed one by one in float64: the file may be larger than memory."""
    total = data[0].v.double()
    for i in range(1, len(data)):
        total += data[i].v
    return (total / len(data)).float()


def _metrics(data: FieldDataset, further: Mapping[str, Metric] | None) -> dict[str, Metric]:
    return default_metrics(data.schema, data[0].t.double().tolist()) | dict(further or {})


def _score(
    name: str,
    test: str,
    parameters: int,
    predict: Callable[[Sample], Tensor],
    batches: Iterable[Sample],
    schema: Schema,
    metrics: Mapping[str, Metric],
) -> Score:
    """Errors of a predictor on the batches of one test set."""
    per_output = RelativeL2(output_relative_l2)
    further = MetricSet(metrics)
    start = time.perf_counter()
    for batch in batches:
        v_hat = predict(batch)
        per_output.update(v_hat, batch.v, batch.y_mask)
        further.update(v_hat, batch.v, batch.y_mask)
    with per_output.sync_context():  # each process has seen a part of the samples
        errors = infinite_if_not_finite(per_output.per_sample()).mean(1)
    every = errors.mean(1)
    middle, last = median_and_worst(every)
    return Score(
        model=name,
        test=test,
        parameters=parameters,
        mean=float(every.mean()),
        median=float(every.median()),
        worst=float(every.max()),
        samples=len(every),
        seconds=time.perf_counter() - start,
        median_index=middle,
        worst_index=last,
        metrics={key: float(value.mean()) for key, value in further.compute().items()},
        outputs=dict(zip(schema.outputs, errors.mean(0).tolist(), strict=True)),
        not_finite=int(every.isinf().sum()),
    )


def infinite_if_not_finite(errors: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The errors with NaN replaced by infinity, which is larger than every number.

    Example:
        >>> infinite_if_not_finite(torch.tensor([0.5, torch.nan])).max()
        tensor(inf)
    """
    return torch.where(errors.isfinite(), errors, torch.inf)
