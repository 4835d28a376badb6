"""Errors in time: windows of steps, correlation with the truth, trajectories that blow up."""

from __future__ import annotations

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from fields.metrics.base import MeanOverSamples, mean_over_points

THE_WELL_WINDOWS = ((6, 12), (13, 30))


def window(values: Float[Tensor, "s *rest"], first: int, last: int) -> Float[Tensor, ""]:
    """Mean over the predicted steps first … last, one-based and inclusive: (6, 12) is the mean of seven steps.

    Step 1 is the first predicted frame. (The Well's tables do not say whether "6:12" is inclusive;
    this is our reading, the Python slice ``values[6:12]`` would be steps 7 … 12.)
    """
    if not 1 <= first <= last <= len(values):
        raise ValueError(
            f"Window {first}:{last} does not lie in the {len(values)} predicted steps. "
            f"Windows are one-based and inclusive; roll out at least {last} steps."
        )
    return values[first - 1 : last].mean()


class Correlation(MeanOverSamples):
    """mean_samples cov_x(v̂, v) / (σ_x(v̂) σ_x(v)), Pearson's correlation over space; (s o).

    A field without variation correlates with nothing: 0.
    """

    higher_is_better = True

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """Correlation over space."""
        a = v_hat - mean_over_points(v_hat, mask)[:, :, None]
        b = v - mean_over_points(v, mask)[:, :, None]
        scale = (mean_over_points(a**2, mask) * mean_over_points(b**2, mask)).sqrt()
        return mean_over_points(a * b, mask) / scale.clamp_min(torch.finfo(scale.dtype).tiny)


def correlation_time(
    correlation: Float[Tensor, "s"], times: Float[Tensor, "s"], threshold: float = 0.8
) -> Float[Tensor, ""]:
    """First time at which the correlation (its mean over samples) is below the threshold; the last time if it never is.

    Reference: Lippe et al., PDE-Refiner, NeurIPS 2023 (thresholds 0.8 and 0.9).
    """
    below = (~(correlation >= threshold)).nonzero()  # written so that NaN is below
    return times[below[0, 0]] if len(below) else times[-1]


class BlowUps(Metric):
    """Number of samples that leave every reasonable range: not finite, or |v̂| > factor · max |v| of their own truth."""

    full_state_update = False
    higher_is_better = False
    count: Tensor

    def __init__(self, factor: float = 10.0):
        super().__init__()
        self.factor = factor
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Adds the samples of a batch."""
        real = mask[:, None, :, None]
        largest = reduce(torch.where(real, v, 0.0).abs(), "b s m o -> b 1 1 o", "max")
        inside = (v_hat.abs() <= self.factor * largest) | ~real  # NaN compares false
        self.count = self.count + (~inside.flatten(1).all(dim=1)).sum()

    def compute(self) -> Tensor:
        """How many samples blew up."""
        return self.count
