"""Prediction bands in time, calibrated on the validation split and checked on the test split."""

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
    """v̂ ± width contains the whole field of a step with probability at least 1 − α.

    There are bands for as many steps as validation trajectories have.

    Args:
        width: half-width per step and channel, the same everywhere in space.
        coverage: share of the test trajectories inside, per step and channel.
        calibration_samples: number of validation trajectories.
        test_samples: number of test trajectories.

    Example:
        >>> bands = PredictionBands(torch.full((3, 1), 0.1), torch.full((3, 1), 0.92), 100, 50)
        >>> bands.width.shape, bands.calibration_samples
        (torch.Size([3, 1]), 100)
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
    """Split-conformal prediction bands of a model in time.

    The half-width of a step is the ⌈(1 − α)(n + 1)⌉-th smallest of the n largest errors that the
    validation trajectories have at that step. There is no band if n < 1/α − 1.

    Reference: Lei et al., J. Amer. Statist. Assoc. 113, 2018 (algorithm 2).

    Args:
        model: of an evolution problem.
        validation, test: batches of whole trajectories.
        alpha: share of new trajectories that may leave the band at a step.
        memory: bytes that one pass may take.
    """
    scores = _largest_errors(model, validation, None, memory)
    if scores is None or alpha * (len(scores) + 1) < 1 - 1e-9:
        return None
    width = conformal_quantile(scores, alpha=alpha)
    tested = _largest_errors(model, test, len(width), memory)
    assert tested is not None, "there are test trajectories"
    width = width[: tested.shape[1]]
    return PredictionBands(width, coverage(tested, width), len(scores), len(tested))


def _largest_errors(
    model: Operator, batches: Iterable[Sample], steps: int | None, memory: float
) -> Float[Tensor, "n s o"] | None:
    """max_x |v̂ − v| of every trajectory, for the first steps."""
    found = []
    for batch in batches:
        part = batch._replace(t=batch.t[:, :steps], v=batch.v[:, :steps])
        found.append(sup_scores(model.evaluate(part, memory), part.v, part.y_mask))
    return all_gather(torch.cat(found)) if found else None
