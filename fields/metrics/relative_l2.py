"""Relative L2 with the value of every sample kept, for the mean, the median and the worst."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fields.metrics.losses import relative_l2


class RelativeL2(Metric):
    """(1/N) Σ_samples ‖v̂ − v‖ / ‖v‖; which norm is said by ``error``, one of :mod:`fields.metrics.losses`.

    One float64 per sample is kept, in the order of the updates (under DDP: ordered by process).
    """

    full_state_update = False
    higher_is_better = False
    errors: list[Tensor]

    def __init__(self, error: Callable[[Tensor, Tensor, Tensor], Tensor] = relative_l2):
        super().__init__()
        self.error = error
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Adds the samples of a batch."""
        self.errors.append(self.error(v_hat.double(), v.double(), mask))

    def compute(self) -> Float[Tensor, ""]:
        """Mean over all samples seen."""
        return self.per_sample().mean()

    def per_sample(self) -> Float[Tensor, "b"]:
        """The error of every sample seen by this process."""
        if not len(self.errors):
            raise ValueError("RelativeL2 has seen no sample. Call `update` first.")
        return dim_zero_cat(self.errors)


def median_and_worst(errors: Float[Tensor, "b"]) -> tuple[int, int]:
    """Indices of the (upper) median and of the worst sample; a sample that is not a number is the worst."""
    order = torch.argsort(errors)  # puts NaN last
    return int(order[len(order) // 2]), int(order[-1])
