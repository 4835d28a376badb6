"""The metrics of The Well, in physical units: VRMSE (predicting the mean gives 1), NRMSE and the spectral error.

e = v̂ − v at the points of one sample, one step, one channel; ε = 1e-7 is in squared physical
units, as published.

Reference: Ohana et al., The Well, NeurIPS 2024 Datasets and Benchmarks;
``the_well/benchmark/metrics``.
"""

from __future__ import annotations

from math import log10, pi, prod, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from fields.metrics.base import MeanOverSamples, mean_over_points, to_grid, wavenumber_magnitude

EPS = 1e-7


class VRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / (var_x v + ε)), the variance unbiased (n − 1)."""

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """√(mean_x e² / (var_x v + ε))."""
        points = mask.sum(dim=1)[:, None, None]
        centerd = v - mean_over_points(v, mask)[:, :, None]
        variance = mean_over_points(centerd**2, mask) * points / (points - 1)
        return (mean_over_points((v_hat - v) ** 2, mask) / (variance + EPS)).sqrt()


class WellNRMSE(MeanOverSamples):
    """mean_samples √(mean_x e² / (mean_x v² + ε))."""

    def __init__(self, *, steps: int = 1, channels: int = 1):
        super().__init__((steps, channels))

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b s o"]:
        """√(mean_x e² / (mean_x v² + ε))."""
        return (
            mean_over_points((v_hat - v) ** 2, mask) / (mean_over_points(v**2, mask) + EPS)
        ).sqrt()


class SpectralError(MeanOverSamples):
    """Mean squared error by wavenumber: mean_samples Σ_{k ∈ bin} |F(e)_k|² / N², three isotropic bins; (3 s o).

    The edges are logarithmic from 2π/max(n) to π√d in units of the grid spacing, the first one
    moved to 0, so the three bins sum to the mean squared error.

    Args:
        grid: points per axis, the first axis slowest.
        relative: divide by the truth's energy in the same bin (plus ε), sample by sample.
    """

    def __init__(
        self, grid: tuple[int, ...], *, relative: bool = False, steps: int = 1, channels: int = 1
    ):
        super().__init__((3, steps, channels))
        self.grid = grid
        self.relative = relative

    def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "b 3 s o"]:
        """Energy of the error per bin, relative to the truth's if asked."""
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
