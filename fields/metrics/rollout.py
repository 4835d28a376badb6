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
    """Mean over the predicted steps first … last, one-based and inclusive.

    Step 1 is the first predicted frame, so that (6, 12) is the mean of seven steps. The tables of
    The Well do not say whether "6:12" is inclusive; the Python slice ``values[6:12]`` would be the
    steps 7 … 12.

    Raises:
        ValueError: the window does not lie in the predicted steps.

    Example:
        >>> window(torch.arange(1.0, 31.0), 6, 12)
        tensor(9.)
    """
    if not 1 <= first <= last <= len(values):
        raise ValueError(
            f"Window {first}:{last} does not lie in the {len(values)} predicted steps. "
            f"Windows are one-based and inclusive; roll out at least {last} steps."
        )
    return values[first - 1 : last].mean()


class Correlation(MeanOverSamples):
    """mean_samples cov_x(v̂, v) / (σ_x(v̂) σ_x(v)), Pearson's correlation over space; (s o).

    The correlation with a field that is constant in space is defined as 0.

    Example:
        >>> metric = Correlation()
        >>> v = torch.rand(2, 3, 8, 1)
        >>> metric.update(2 * v + 1, v, torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([3, 1])
    """

    higher_is_better = True

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b s o"]:
        """Correlation over space of each sample."""
        a = v_hat - mean_over_points(v_hat, mask)[:, :, None]
        b = v - mean_over_points(v, mask)[:, :, None]
        scale = (mean_over_points(a**2, mask) * mean_over_points(b**2, mask)).sqrt()
        return mean_over_points(a * b, mask) / scale.clamp_min(torch.finfo(scale.dtype).tiny)


class CorrelationTime(Correlation):
    """min { t : mean correlation(t) < threshold }; the last time if there is none.

    The correlation is averaged over samples and channels.

    Reference: Lippe et al., PDE-Refiner, NeurIPS 2023 (thresholds 0.8 and 0.9).

    Args:
        times: of the predicted steps.
        threshold: of the correlation.

    Example:
        >>> metric = CorrelationTime([0.1, 0.2, 0.3])
        >>> v = torch.rand(2, 3, 8, 1)
        >>> sign = torch.tensor([1.0, -1.0, 1.0])[:, None, None]  # the second step is opposite
        >>> metric.update(sign * v, v, torch.ones(1, 8) > 0)
        >>> metric.compute()
        tensor(0.2000, dtype=torch.float64)
    """

    def __init__(self, times: list[float], threshold: float = 0.8) -> None:
        super().__init__()
        self.times = torch.tensor(times, dtype=torch.float64)
        self.threshold = threshold

    def compute(self) -> Float[Tensor, ""]:
        """First time at which the correlation is below the threshold."""
        return correlation_time(super().compute().mean(-1), self.times, self.threshold)


def correlation_time(
    correlation: Float[Tensor, "s"], times: Float[Tensor, "s"], threshold: float = 0.8
) -> Float[Tensor, ""]:
    """First time at which the correlation is below the threshold; the last time if it never is.

    A correlation that is not a number counts as below.

    Reference: Lippe et al., PDE-Refiner, NeurIPS 2023 (thresholds 0.8 and 0.9).

    Args:
        correlation: mean over samples, per step.
        times: of the steps.
        threshold: of the correlation.

    Example:
        >>> correlation_time(torch.tensor([1.0, 0.85, 0.7]), torch.tensor([0.5, 1.0, 1.5]))
        tensor(1.5000)
    """
    below = (~(correlation >= threshold)).nonzero()  # written so that NaN is below
    return times[below[0, 0]] if len(below) else times[-1]


class BlowUps(Metric):
    """Number of samples with |v̂| > factor · max |v| somewhere, or with a value that is not finite.

    The largest |v| is that of the sample's own truth in the same channel, over steps and points.

    Args:
        factor: how far above the truth's largest value a prediction may go.

    Example:
        >>> metric = BlowUps()
        >>> v = torch.ones(3, 2, 8, 1)
        >>> metric.update(v * torch.tensor([1.0, 9.0, 11.0])[:, None, None, None], v,
        ...               torch.ones(1, 8) > 0)
        >>> metric.compute()
        tensor(1)
    """

    full_state_update = False
    higher_is_better = False
    count: Tensor

    def __init__(self, factor: float = 10.0) -> None:
        super().__init__()
        self.factor = factor
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Add the samples of a batch."""
        real = mask[:, None, :, None]
        largest = reduce(torch.where(real, v, 0.0).abs(), "b s m o -> b 1 1 o", "max")
        inside = (v_hat.abs() <= self.factor * largest) | ~real  # NaN compares false
        self.count = self.count + (~inside.flatten(1).all(dim=1)).sum()

    def compute(self) -> Tensor:
        """Number of samples that blew up."""
        return self.count
