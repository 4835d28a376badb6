"""Bands around predictions in time: calibrated on the validation split, their coverage measured on the test split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fields.core.distributed import all_gather
from fields.core.sample import Sample
from fields.inference.conformal import conformal_quantile, coverage, sup_scores
from fields.models.base import Operator

ALPHA = 0.1


@dataclass(frozen=True)
class PredictionBands:
    """v̂ ± width holds the whole field of a step with probability 1 − α, for the steps that validation trajectories have.

    Args:
        width: half-width per step and channel, equal everywhere in space.
        coverage: share of the test trajectories inside, per step and channel.
        calibration_samples, test_samples: how many trajectories.
    """

    width: Float[Tensor, "s o"]
    coverage: Float[Tensor, "s o"]
    calibration_samples: int
    test_samples: int


@torch.no_grad()
def calibrate_bands(
    model: Operator,
    validation: Iterable[Sample],
    test: Iterable[Sample],
    *,
    alpha: float = ALPHA,
    memory: float = 1e9,
) -> PredictionBands | None:
    """Split-conformal bands of a model in time; None where the validation trajectories are too few for any band.

    Args:
        model: which.
        validation, test: batches of trajectories from their first frames, as many steps as they
            have.
        alpha: share of the new trajectories that may leave the band at a step.
        memory: bytes that one pass may take.
    """
    scores = _scores(model, validation, None, memory)
    if scores is None or alpha * (len(scores) + 1) < 1 - 1e-9:
        return None
    width = conformal_quantile(scores, alpha=alpha)
    tested = _scores(model, test, len(width), memory)
    assert tested is not None, "there are test trajectories"
    steps = tested.shape[1]
    return PredictionBands(width[:steps], coverage(tested, width[:steps]), len(scores), len(tested))


def _scores(
    model: Operator, batches: Iterable[Sample], steps: int | None, memory: float
) -> Float[Tensor, "n s o"] | None:
    """Largest error of every field, of the first steps alone."""
    found = []
    for batch in batches:
        part = batch._replace(t=batch.t[:, :steps], v=batch.v[:, :steps])
        found.append(sup_scores(model.evaluate(part, memory), part.v, part.y_mask))
    return all_gather(torch.cat(found)) if found else None
