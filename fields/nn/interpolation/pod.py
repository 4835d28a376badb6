"""Principal components: an orthonormal basis of sampled functions, with their mean and spread."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

NOISE = 1e-4  # of the largest singular value; directions with less are rounding


class PODBasis(nn.Module):
    r"""Rows and their coefficients, whitened.

        c = S⁻¹ U (row − mean),    row ≈ mean + Uᵀ S c

    U (orthonormal rows) and S come from :meth:`fit` and are not trained; until then U holds the
    lowest cosines.

    Args:
        size: numbers in a row.
        components: rows of U; those beyond the rank of the data are zero.
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
        """Mean, principal components and standard deviations of these rows, found in double precision."""
        mean = rows.double().mean(0)
        _, spread, directions = torch.linalg.svd(rows.double() - mean, full_matrices=False)
        held = int(
            (spread[: len(self.spread)] > NOISE * spread[0]).sum()
        )  # the rank may end before the components do
        self.mean.copy_(mean)
        self.directions.zero_()
        self.spread.fill_(1.0)
        self.directions[:held].copy_(directions[:held])
        self.spread[:held].copy_(spread[:held] / len(rows) ** 0.5)

    def coefficients(self, rows: Float[Tensor, "b size"]) -> Float[Tensor, "b r"]:
        """c, of unit variance over the rows of the fit."""
        return (rows - self.mean) @ self.directions.mT / self.spread

    def forward(self, coefficients: Float[Tensor, "b r"]) -> Float[Tensor, "b size"]:
        """The rows with these coefficients."""
        return self.mean + (coefficients * self.spread) @ self.directions
