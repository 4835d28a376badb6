"""The metrics of PDEBench, evaluated exactly as its ``models/metrics.py`` defines them.

e = v̂ − v at the N points of one sample, one step, one channel. All compute (s o),
:class:`FourierRMSE` (3 s o). PDEBench itself averages batch means, which overweights a short last
batch; here every sample weighs the same.

Reference: Takamoto et al., PDEBench, NeurIPS 2022 Datasets and Benchmarks.
"""

from __future__ import annotations

from math import prod

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from fields.metrics.base import MeanOverSamples, mean_over_points, to_grid, wavenumber_magnitude

BINS = ((0, 4), (4, 12), (12, None))  # low, middle and high wavenumbers of FourierRMSE


class RMSE(MeanOverSamples):
    """mean_samples √(mean_x e²)."""

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """√(mean_x e²)."""
        return mean_over_points((v_hat - v) ** 2, mask).sqrt()


class NRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / mean_x v²), without ε: infinite for a truth that is zero everywhere."""

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """√(mean_x e² / mean_x v²)."""
        return (mean_over_points((v_hat - v) ** 2, mask) / mean_over_points(v**2, mask)).sqrt()


class ConservedRMSE(MeanOverSamples):
    """cRMSE = √(mean_samples (Σ_x v̂ − Σ_x v)²) / N: is the integral of the field kept?"""

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """(Σ_x e / N)²."""
        return mean_over_points(v_hat - v, mask) ** 2

    def compute(self) -> Float[Tensor, "s o"]:
        """Root of the mean over samples."""
        return super().compute().sqrt()


class BoundaryRMSE(MeanOverSamples):
    """bRMSE = mean_samples √(Σ_boundary e² / number of boundary points), edges and corners counted once per face.

    In 3D PDEBench sums e² over the channels as well; every channel then shows that joint value.

    Args:
        grid: points per axis, the first axis slowest.
    """

    def __init__(self, grid: tuple[int, ...], *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))
        self.grid = grid

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
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
    """fRMSE = √(mean_samples Σ_{k ∈ bin} |F(e)_k|²) · L / N, averaged over the bins [0, 4), [4, 12) and [12, …).

    In 1D a bin is one mode of the real transform. In more dimensions it is a shell ⌊|k|⌋ of the
    *positive* quadrant kᵢ < nᵢ/2, up to min(nᵢ)/2. A band that the grid does not resolve is NaN.

    Args:
        grid: points per axis, the first axis slowest.
        lengths: extent of the domain per axis; PDEBench's default is 1.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        *,
        lengths: tuple[float, ...] | None = None,
        steps: int = 1,
        channels: int = 1,
    ):
        bins = grid[0] // 2 + 1 if len(grid) == 1 else min(grid) // 2
        super().__init__((bins, steps, channels))
        self.bins = bins
        self.grid = grid
        self.scale = prod(lengths or (1.0,)) / prod(grid)

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b k s o"]:
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
        """Low, middle and high band."""
        root = super().compute().sqrt() * self.scale
        return torch.stack([root[low:high].mean(dim=0) for low, high in BINS])


class MaxError(Metric):
    """max over points and samples of |e|."""

    full_state_update = False
    higher_is_better = False
    largest: Tensor

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__()
        self.add_state(
            "largest", torch.zeros(steps, channels, dtype=torch.float64), dist_reduce_fx="max"
        )

    def update(
        self, v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Tensor
    ) -> None:
        """Adds the samples of a batch."""
        error = torch.where(mask[:, None, :, None], (v_hat.double() - v.double()).abs(), 0.0)
        self.largest = torch.maximum(self.largest, reduce(error, "b s m o -> s o", "max"))

    def compute(self) -> Float[Tensor, "s o"]:
        """Largest error seen."""
        return self.largest
