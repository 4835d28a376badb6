"""Predictors that need no training, fitted to a part of the training data in a few seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fields.baselines.linear_regression import LinearRegression
from fields.baselines.nearest_neighbor import NearestNeighbor
from fields.baselines.stepwise import fit_linear_step
from fields.core.sample import Sample
from fields.data.datamodule import FieldDataModule
from fields.data.dataset import FieldDataset
from fields.data.normalizer import Normalizer
from fields.models.base import Operator

NEAREST = "nearest neighbor"
LINEAR = "linear regression"

# Training samples (windows of evolution problems) that the references are fitted to, at most.
SAMPLES = 1000

# Bytes that these may take.
BYTES = 2e8

# Of the extent of the points: test points this close to those of the training are the same.
SAME_POINTS = 1e-5


@dataclass(frozen=True)
class References:
    """Fitted reference predictors.

    Args:
        models: by name; empty where none can be fitted.
        note: which part of the training data they are fitted to, or why there are none.
        test: name of the test set with the points of the training, on which they predict.

    Example:
        >>> References(note="the samples have different points").models
        {}
    """

    models: dict[str, Operator] = field(default_factory=dict)
    note: str = ""
    test: str = ""


def fit_references(data: FieldDataModule) -> References:
    """Nearest neighbor and linear regression of static maps, linear steps of evolution problems.

    They are fitted at the points of the training, to at most `SAMPLES` training samples chosen at
    random (by the seed of the data).

    Args:
        data: with training and test sets; already set up.
    """
    test = training_points_test(data)
    reason = _obstacle(data.train, test)
    if reason or test is None:
        return References(note=f"Not compared with {NEAREST} and {LINEAR}: {reason}.")
    samples = _choose_samples(data.train, data.seed)
    schema = data.train.schema
    problem = {"schema": schema, "normalizer": Normalizer(schema, data.statistics)}
    models: dict[str, Operator] = (
        {
            NEAREST: NearestNeighbor.fit(samples, **problem),
            LINEAR: LinearRegression.fit(samples, **problem),
        }
        if schema.dt is None
        else {LINEAR: fit_linear_step(samples, **problem)}
    )
    kind = "training samples" if schema.dt is None else "training windows"
    part = f"{len(samples)} of {len(data.train)}"
    count = f"all {len(samples)}" if len(samples) == len(data.train) else part
    names = " and ".join(models)
    step = "" if schema.dt is None else " of one step, applied repeatedly"
    note = f"{names}{step}: fitted to {count} {kind}."
    return References(models, note[:1].upper() + note[1:], test)


def training_points_test(data: FieldDataModule) -> str | None:
    """The name of the first test set that has the points of the training, if there is one."""
    train = data.train.shared_points
    for name, rows in data.tests.items():
        points = rows.shared_points
        if train is None or points is None or points.shape != train.shape:
            continue
        extent = float((train.amax(0) - train.amin(0)).max())
        if float((points - train).abs().max()) <= SAME_POINTS * extent:
            return name
    return None


def _obstacle(train: FieldDataset, test: str | None) -> str:
    """Why no reference can be fitted; empty if it can."""
    if train.shared_points is None or train.sensors is not None:
        return "the samples have different points"
    if test is None:
        return "no test set has the points of the training"
    if len(train) < 2:
        return "there is a single training sample"
    first = train[0]
    if first.x.shape != first.y.shape or not torch.equal(first.x, first.y):
        return "inputs and outputs have different points"
    return ""


def _choose_samples(train: FieldDataset, seed: int) -> list[Sample]:
    first = train[0]
    bytes_each = 4 * (first.u.numel() + first.v.numel())
    count = min(len(train), SAMPLES, max(2, int(BYTES / bytes_each)))
    chosen = np.random.default_rng(seed).choice(len(train), count, replace=False)
    return [train[int(i)] for i in np.sort(chosen)]
