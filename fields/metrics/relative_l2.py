"""Relative L2 errors of all samples, for their mean, their median and the worst of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fields.metrics.losses import relative_l2


class RelativeL2(Metric):
    """(1/N) Σ_samples ‖v̂ − v‖ / ‖v‖.

    One float64 per sample is kept, in the order of the updates (with several processes: ordered by
    process).

    Args:
        error: gives one error per sample; a function of :mod:`fields.metrics.losses`.

    Example:
        >>> metric = RelativeL2()
        >>> v = torch.ones(3, 1, 8, 1)
        >>> factors = torch.tensor([1.5, 1.25, 2.0])[:, None, None, None]
        >>> metric.update(factors * v, v, torch.ones(1, 8) > 0)
        >>> metric.per_sample()
        tensor([0.5000, 0.2500, 1.0000], dtype=torch.float64)
    """

    full_state_update = False
    higher_is_better = False
    errors: list[Tensor]

    def __init__(self, error: Callable[[Tensor, Tensor, Tensor], Tensor] = relative_l2) -> None:
        super().__init__()
        self.error = error
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Add the samples of a batch."""
        self.errors.append(self.error(v_hat.double(), v.double(), mask))

    def compute(self) -> Float[Tensor, ""]:
        """Mean over all samples seen."""
        return self.per_sample().mean()

    def per_sample(self) -> Float[Tensor, "b"]:
        """Error of every sample seen by this process.

        Raises:
            ValueError: no sample was seen.
        """
        if not len(self.errors):
            raise ValueError("RelativeL2 has not seen any sample. Call `update` first.")
        return dim_zero_cat(self.errors)


def median_and_worst(errors: Float[Tensor, "b"]) -> tuple[int, int]:
    """Indices of the (upper) median and of the worst sample; NaN counts as the worst.

    Example:
        >>> median_and_worst(torch.tensor([0.1, 0.4, 0.2]))
        (2, 1)
    """
    order = torch.argsort(errors)  # puts NaN last
    return int(order[len(order) // 2]), int(order[-1])
