"""Proper orthogonal decomposition: an orthonormal basis of sampled functions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

NOISE = 1e-4  # of the largest singular value; smaller ones are treated as rounding


class PODBasis(nn.Module):
    r"""Principal components of rows, with whitened coefficients.

        c = S⁻¹ U (row − mean),    row ≈ mean + Uᵀ S c

    U (with orthonormal rows) and S come from :meth:`fit` and are not trained. Before the fit, U
    contains the lowest cosines.

    Args:
        size: length of a row.
        components: number of rows of U; those beyond the rank of the data are zero.

    Example:
        >>> basis = PODBasis(16, 3)
        >>> basis.fit(torch.randn(10, 16))
        >>> basis(basis.coefficients(torch.randn(5, 16))).shape
        torch.Size([5, 16])
    """

    mean: Tensor
    directions: Tensor
    spread: Tensor

    def __init__(self, size: int, components: int):
        super().__init__()
        turns = torch.arange(components)[:, None] * (torch.arange(size) + 0.5) / size
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("directions", torch.cos(math.pi * turns) * (2 / size) ** 0.5)
        self.register_buffer("spread", torch.ones(components))

    @torch.no_grad()
    def fit(self, rows: Float[Tensor, "b size"]) -> None:
        """Compute mean, principal components and deviations of these rows in double precision."""
        mean = rows.double().mean(0)
        _, spread, directions = torch.linalg.svd(rows.double() - mean, full_matrices=False)
        # the rank may be less than the number of components
        held = int((spread[: len(self.spread)] > NOISE * spread[0]).sum())
        self.mean.copy_(mean)
        self.directions.zero_()
        self.spread.fill_(1.0)
        self.directions[:held].copy_(directions[:held])
        self.spread[:held].copy_(spread[:held] / len(rows) ** 0.5)

    def coefficients(self, rows: Float[Tensor, "b size"]) -> Float[Tensor, "b r"]:
        """The coefficients c, which have unit variance over the rows of the fit."""
        return (rows - self.mean) @ self.directions.mT / self.spread

    def forward(self, coefficients: Float[Tensor, "b r"]) -> Float[Tensor, "b size"]:
        """The rows mean + Uᵀ S c with these coefficients."""
        return self.mean + (coefficients * self.spread) @ self.directions
