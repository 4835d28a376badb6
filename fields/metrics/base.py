"""What metrics share: a mean over samples that is exact for any batch size, and means over real points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric


class MeanOverSamples(Metric, ABC):
    """(1/N) Σ_samples values(sample), of a fixed shape, summed in float64.

    Args:
        shape: shape of the value of one sample, e.g. (steps, channels).
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b ..."]:
        """One value (of ``shape``) per sample; arguments arrive in float64."""

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Adds the samples of a batch."""
        values = self.values(v_hat.double(), v.double(), mask)
        if values.shape[1:] != self.total.shape:
            raise ValueError(
                f"{type(self).__name__} was made for values of shape {tuple(self.total.shape)} per sample, got "
                f"{tuple(values.shape[1:])} from fields of shape {tuple(v.shape)} (b s m o). Set `steps`, `channels`."
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
    """Points as a full grid, the first axis slowest."""
    if values.shape[2] != prod(grid) or not bool(mask.all()):
        raise ValueError(
            f"This metric needs values on a full grid {grid} = {prod(grid)} points, got {values.shape[2]} points of "
            f"which {int(mask.sum(dim=1).min())} are real. Evaluate it on the grid's own points."
        )
    return values.unflatten(2, grid)


def wavenumber_magnitude(axes: list[Float[Tensor, "_"]]) -> Float[Tensor, "m"]:
    """√(Σ kᵢ²) at every point of the grid spanned by the axes, flattened, the first axis slowest."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt().flatten()
