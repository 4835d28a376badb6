"""The metrics of The Well in physical units: VRMSE, NRMSE and the spectral error.

e = v̂ − v at the points of one sample, one step, one channel; ε = 1e-7 is in squared physical
units, as published.

Reference: Ohana et al., The Well, NeurIPS 2024 Datasets and Benchmarks;
``the_well/benchmark/metrics``.
"""

from __future__ import annotations

from math import log10, pi, prod, sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.metrics.base import MeanOverSamples, mean_over_points, to_grid, wavenumber_magnitude

EPS = 1e-7


class VRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / (var_x v + ε)) with the unbiased variance (n − 1).

    Predicting the spatial mean of the truth gives 1.

    Example:
        >>> metric = VRMSE()
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
        """√(mean_x e² / (var_x v + ε))."""
        points = mask.sum(dim=1)[:, None, None]
        centered = v - mean_over_points(v, mask)[:, :, None]
        variance = mean_over_points(centered**2, mask) * points / (points - 1)
        return (mean_over_points((v_hat - v) ** 2, mask) / (variance + EPS)).sqrt()


class WellNRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / (mean_x v² + ε)); The Well calls it NRMSE.

    Example:
        >>> metric = WellNRMSE()
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
        """√(mean_x e² / (mean_x v² + ε))."""
        return (
            mean_over_points((v_hat - v) ** 2, mask) / (mean_over_points(v**2, mask) + EPS)
        ).sqrt()


class SpectralError(MeanOverSamples):
    """mean_samples Σ_{|k| ∈ bin} |F(e)_k|² / N², the mean squared error of three bins; (3 s o).

    The edges of the bins are logarithmic from 2π/max(n) to π√d, in units of the inverse grid
    spacing. The first edge is moved to 0, so that the three bins sum to the mean squared error.

    Args:
        grid: points per axis, the first axis slowest.
        relative: divide by the truth's energy in the same bin (plus ε), sample by sample.

    Raises:
        GridMismatchError: the points are not those of the grid.

    Example:
        >>> metric = SpectralError((8,))
        >>> metric.update(torch.ones(4, 2, 8, 3), torch.zeros(4, 2, 8, 3), torch.ones(1, 8) > 0)
        >>> metric.compute().shape
        torch.Size([3, 2, 3])
    """

    labels = ("low wavenumbers", "middle wavenumbers", "high wavenumbers")

    def __init__(self, grid: tuple[int, ...], *, relative: bool = False) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.relative = relative

    def values(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> Float[Tensor, "b 3 s o"]:
        """Energy of the error per bin, divided by the truth's if `relative`."""
        error = self._energy(to_grid(v_hat - v, mask, self.grid))
        if self.relative:
            error = error / (self._energy(to_grid(v, mask, self.grid)) + EPS)
        return error

    def _energy(self, field: Float[Tensor, "b s *grid o"]) -> Float[Tensor, "b 3 s o"]:
        power = (
            torch.fft.fftn(field, dim=tuple(range(2, field.ndim - 1))).abs() ** 2
            / prod(self.grid) ** 2
        )
        axes = [
            2 * pi * torch.fft.fftfreq(n, dtype=torch.float64, device=field.device)
            for n in self.grid
        ]
        last = log10(pi * sqrt(len(self.grid)) + 1e-6)
        edges = torch.logspace(
            log10(2 * pi / max(self.grid)), last, 4, dtype=torch.float64, device=field.device
        )
        bins = torch.bucketize(wavenumber_magnitude(axes), edges[1:3], right=True)
        total = power.new_zeros(*power.shape[:2], 3, power.shape[-1])
        return total.index_add(2, bins, power.flatten(2, -2)).movedim(2, 1)
