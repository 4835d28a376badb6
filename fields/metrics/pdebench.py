"""The metrics of PDEBench, evaluated exactly as its ``models/metrics.py`` defines them.

e = v̂ − v at the N points of one sample, one step, one channel. All compute (s o), except
:class:`FourierRMSE`, which computes (3 s o). PDEBench itself averages batch means, which gives the
samples of a short last batch more weight; here every sample has the same weight.

Reference: Takamoto et al., PDEBench, NeurIPS 2022 Datasets and Benchmarks.
"""

from __future__ import annotations

from math import prod

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from fields.metrics.base import MeanOverSamples, mean_over_points, to_grid, wavenumber_magnitude

BANDS = ((0, 4), (4, 12), (12, None))  # low, middle and high wavenumbers of FourierRMSE


class RMSE(MeanOverSamples):
    """mean_samples √(mean_x e²).

    Example:
        >>> metric = RMSE()
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([2, 3])
    """

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b s o"]:
        """√(mean_x e²) of each sample, step and channel."""
        return mean_over_points((v_hat - v) ** 2, mask).sqrt()


class NRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / mean_x v²), without ε: infinite where the truth is zero.

    Example:
        >>> metric = NRMSE()
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([2, 3])
    """

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b s o"]:
        """√(mean_x e² / mean_x v²)."""
        return (mean_over_points((v_hat - v) ** 2, mask) / mean_over_points(v**2, mask)).sqrt()


class ConservedRMSE(MeanOverSamples):
    """cRMSE = √(mean_samples (Σ_x v̂ − Σ_x v)²) / N, the error of the integral of the field.

    Example:
        >>> metric = ConservedRMSE()
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([2, 3])
    """

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b s o"]:
        """(Σ_x e / N)²."""
        return mean_over_points(v_hat - v, mask) ** 2

    def compute(self) -> Float[Tensor, "s o"]:
        """Root of the mean over samples."""
        return super().compute().sqrt()


class BoundaryRMSE(MeanOverSamples):
    """bRMSE = mean_samples √(Σ_boundary e² / number of boundary points).

    Points on edges and corners are counted once per face. In 3D PDEBench sums e² over the channels
    as well; every channel then has that joint value.

    Args:
        grid: points per axis, the first axis slowest.

    Raises:
        GridMismatchError: the points are not those of the grid.

    Example:
        >>> metric = BoundaryRMSE((4, 2))
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([2, 3])
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = tuple(grid)

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b s o"]:
        """√(mean over the faces of e²)."""
        squared = to_grid(v_hat - v, mask, self.grid) ** 2
        faces = [squared.select(axis + 2, end) for axis in range(len(self.grid)) for end in (0, -1)]
        total = torch.stack([reduce(face, "b s ... o -> b s o", "sum") for face in faces]).sum(
            dim=0
        )
        points = sum(2 * prod(self.grid) // length for length in self.grid)
        if len(self.grid) == 3:
            total = reduce(total, "b s o -> b s 1", "sum").expand_as(total)
        return (total / points).sqrt()


class FourierRMSE(MeanOverSamples):
    """fRMSE = mean_{j ∈ band} √(mean_samples Σ_{⌊|k|⌋ = j} |F(e)_k|²) · L / N; (3 s o).

    The bands of j are [0, 4), [4, 12) and [12, …). In 1D, k runs over the modes of the real
    transform. In more dimensions it runs over the *positive* quadrant kᵢ < nᵢ/2, and j up to
    min(nᵢ)/2. A band that the grid does not resolve is NaN.

    Args:
        grid: points per axis, the first axis slowest.
        lengths: extent of the domain per axis; PDEBench's default is 1.

    Raises:
        GridMismatchError: the points are not those of the grid.

    Example:
        >>> metric = FourierRMSE((8,))
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([3, 2, 3])
    """

    labels = ("low wavenumbers", "middle wavenumbers", "high wavenumbers")

    def __init__(self, grid: tuple[int, ...], *, lengths: tuple[float, ...] | None = None) -> None:
        super().__init__()
        self.bins = grid[0] // 2 + 1 if len(grid) == 1 else min(grid) // 2
        self.grid = tuple(grid)
        self.scale = prod(lengths or (1.0,)) / prod(grid)

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b k s o"]:
        """Σ_{k ∈ bin} |F(e)_k|²."""
        error = to_grid(v_hat - v, mask, self.grid)
        if len(self.grid) == 1:
            return (torch.fft.rfft(error, dim=2).abs() ** 2).movedim(2, 1)
        power = torch.fft.fftn(error, dim=tuple(range(2, error.ndim - 1))).abs() ** 2
        halves = [torch.arange(n // 2, dtype=torch.float64, device=v.device) for n in self.grid]
        for axis, half in enumerate(halves):
            power = power.narrow(axis + 2, 0, len(half))
        shell = wavenumber_magnitude(halves).long()
        power = power.flatten(2, -2)[:, :, shell < self.bins]
        shells = power.new_zeros(*power.shape[:2], self.bins, power.shape[-1])
        return shells.index_add(2, shell[shell < self.bins], power).movedim(2, 1)

    def compute(self) -> Float[Tensor, "3 s o"]:
        """Root of the mean over samples, averaged over each of the three bands."""
        root = super().compute().sqrt() * self.scale
        return torch.stack([root[low:high].mean(dim=0) for low, high in BANDS])


class MaxError(Metric):
    """max_{samples, x} |e|.

    Example:
        >>> metric = MaxError()
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([2, 3])
    """

    full_state_update = False
    higher_is_better = False
    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("largest", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Add the samples of a batch."""
        error = torch.where(mask[:, None, :, None], (v_hat.double() - v.double()).abs(), 0.0)
        self.largest = torch.maximum(self.largest, reduce(error, "b s m o -> s o", "max"))

    def compute(self) -> Float[Tensor, "s o"]:
        """The largest error over all samples and points, per step and channel."""
        return self.largest
