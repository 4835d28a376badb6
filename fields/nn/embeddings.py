"""Features of positions, and regular grids of anchors."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Schema


class FourierFeatures(nn.Module):
    r"""Multi-band Fourier features of a position, periodic where the axis is.

        x ↦ ( sin 2πf x_a, cos 2πf x_a )   for every axis a and band f

    On a periodic axis f = 1, 2, …, bands. On other axes f runs geometrically from 1/4 to
    ``bands/2``, so that the lowest band is not periodic within the domain.

    Reference: Tancik et al., NeurIPS 2020.

    Args:
        periodic: whether each axis is periodic.
        bands: number of frequencies per axis.

    Shape: x (b n d) -> (b n 2·d·bands).

    Example:
        >>> FourierFeatures((True, False), bands=4)(torch.rand(1, 5, 2)).shape
        torch.Size([1, 5, 16])
    """

    f: Tensor

    def __init__(self, periodic: tuple[bool, ...], *, bands: int = 8):
        super().__init__()
        whole = torch.arange(1, bands + 1).float()
        octaves = 0.25 * torch.pow(2.0, torch.linspace(0, math.log2(2 * bands), bands))
        self.register_buffer(
            "f", torch.stack([whole if p else octaves for p in periodic]), persistent=False
        )
        self.dim = 2 * len(periodic) * bands

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n e"]:
        """Features of positions x in unit coordinates."""
        angle = 2 * math.pi * x[..., None] * self.f.to(x.dtype)
        return rearrange(torch.stack([angle.sin(), angle.cos()]), "two b n d f -> b n (two d f)")


def grid_points(
    counts: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "k d"]:
    """Centers of the cells of a regular grid on the domain [−1/2, 1/2]^d, last axis fastest."""
    axes = [(torch.arange(n, dtype=dtype) + 0.5) / n - 0.5 for n in counts]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(counts))


def token_counts(tokens: tuple[int, ...] | None, schema: Schema) -> tuple[int, ...]:
    """Anchors per axis: ``tokens`` if given, else 32, 16² or 6³ by the number of axes.

    Raises:
        ValueError: ``tokens`` does not have one count per axis.
    """
    if tokens is None:
        return (min(32, round(256 ** (1 / schema.dim))),) * schema.dim
    if len(tokens) != schema.dim:
        raise ValueError(
            f"An encoder got tokens {tuple(tokens)} for {schema.dim} coordinates "
            f"{schema.coords}. Give one count per axis."
        )
    return tuple(tokens)


class PositionEmbedding(nn.Module):
    """Learned features of absolute positions, except along homogeneous axes.

    Args:
        dim: width h of the features.
        schema: names and geometry of the problem.
        bands: frequencies per axis of the Fourier features.

    Shape: x (b n d), unit coordinates -> (b n h).

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> PositionEmbedding(8, schema)(torch.rand(1, 5, 1)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, schema: Schema, *, bands: int = 8):
        super().__init__()
        self.axes = [a for a, same in enumerate(schema.homogeneous) if not same]
        self.constant = nn.Parameter(0.02 * torch.randn(dim))
        self.fourier = (
            FourierFeatures(tuple(schema.periodic[a] for a in self.axes), bands=bands)
            if self.axes
            else None
        )
        self.mix = nn.Linear(self.fourier.dim, dim) if self.fourier is not None else None

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n h"]:
        """Features of positions x in unit coordinates."""
        constant = self.constant.expand(x.shape[0], x.shape[1], -1)
        if self.fourier is None or self.mix is None:
            return constant
        return constant + self.mix(self.fourier(x[..., self.axes]))
