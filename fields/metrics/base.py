"""What metrics share: an exact mean over samples, means over points, points as a grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric


class GridMismatchError(ValueError):
    """A metric needs the points of a full grid and was given others; reports then omit it.

    Example:
        >>> raise GridMismatchError("the points are not a full grid")
        Traceback (most recent call last):
        ...
        fields.metrics.base.GridMismatchError: the points are not a full grid
    """


class MeanOverSamples(Metric, ABC):
    """(1/N) Σ_samples values(sample), summed in float64.

    The shape of the value of one sample is that of the first batch, usually (s o): one number per
    step and channel. The result depends neither on the batch size nor on the number of processes.

    Example:
        >>> class MeanSquaredError(MeanOverSamples):
        ...     def values(self, v_hat, v, mask):
        ...         return mean_over_points((v_hat - v) ** 2, mask)
        >>> metric = MeanSquaredError()
        >>> metric.update(torch.ones(4, 1, 8, 2), torch.zeros(4, 1, 8, 2), torch.ones(1, 8) > 0)
        >>> metric.compute()
        tensor([[1., 1.]], dtype=torch.float64)
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        # A scalar until the first batch gives it its shape.
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b ..."]:
        """One value of any fixed shape per sample; v_hat and v arrive in float64."""

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Add the samples of a batch."""
        values = self.values(v_hat.double(), v.double(), mask)
        if self.count > 0 and values.shape[1:] != self.total.shape:
            raise ValueError(
                f"{type(self).__name__} has seen samples whose values have shape "
                f"{tuple(self.total.shape)}, got {tuple(values.shape[1:])} from fields of shape "
                f"{tuple(v.shape)} (b s m o). Use one metric per test set, or call `reset` between."
            )
        self.total = self.total + values.sum(dim=0)
        self.count = self.count + len(values)

    def compute(self) -> Tensor:
        """Mean over all samples seen."""
        return self.total / self.count


def mean_over_points(
    values: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b s o"]:
    """Mean over the real points."""
    real = rearrange(mask, "b m -> b 1 m 1")
    return torch.where(real, values, 0.0).sum(dim=2) / real.sum(dim=2)


def to_grid(
    values: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"], grid: tuple[int, ...]
) -> Float[Tensor, "b s *grid o"]:
    """Reshape points to a full grid, the first axis slowest.

    Raises:
        GridMismatchError: the points are not those of the grid.
    """
    if values.shape[2] != prod(grid) or not bool(mask.all()):
        raise GridMismatchError(
            f"This metric needs values on a full grid {tuple(grid)} = {prod(grid)} points, got "
            f"{values.shape[2]} points of which {int(mask.sum(dim=1).min())} are real. "
            "Evaluate it at the points of that grid."
        )
    return values.unflatten(2, tuple(grid))


def wavenumber_magnitude(axes: list[Float[Tensor, "_"]]) -> Float[Tensor, "m"]:
    """|k| = √(Σ kᵢ²) at every point of the grid that the axes span, the first axis slowest."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt().flatten()
