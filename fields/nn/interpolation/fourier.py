"""Trigonometric polynomials on a box, represented by samples at the centers of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Schema
from fields.nn.embeddings import grid_points

PENALTY = 1e-10  # weight of roughness, relative to that of the data


def trigonometric_basis(
    x: Float[Tensor, "*b n"], count: int, periodic: bool
) -> Float[Tensor, "*b n f"]:
    """Functions of one axis, orthonormal over the centers of ``count`` cells.

        periodic:  1, √2 sin 2πx, √2 cos 2πx, √2 sin 4πx, …
        else:      1, √2 cos π(x + ½), √2 cos 2π(x + ½), …

    All are divided by √count. If ``count`` is even, the last periodic function is a sine that has
    its extrema at the centers; it has no factor √2.
    """
    i = torch.arange(count, device=x.device)
    angle = (
        2
        * math.pi
        * wave_numbers(count, periodic).to(x)
        * (x[..., None] if periodic else x[..., None] + 0.5)
    )
    values = torch.where((i % 2 == 1) & periodic, angle.sin(), angle.cos())
    single = (i == 0) | ((i == count - 1) & periodic & (count % 2 == 0))
    return torch.where(single, values, math.sqrt(2) * values) / math.sqrt(count)


def wave_numbers(count: int, periodic: bool) -> Float[Tensor, "f"]:
    """Number of periods of each of these functions along the axis."""
    i = torch.arange(count)
    return ((i + 1) // 2).float() if periodic else i / 2


def product_basis(
    x: Float[Tensor, "*b n d"], counts: Sequence[int], periodic: Sequence[bool]
) -> Float[Tensor, "*b n f"]:
    """Products of the functions of all axes, f = ∏ counts."""
    per_axis = [
        trigonometric_basis(x[..., a], count, closed)
        for a, (count, closed) in enumerate(zip(counts, periodic, strict=True))
    ]
    return reduce(
        lambda f, g: rearrange(f[..., :, None] * g[..., None, :], "... f g -> ... (f g)"), per_axis
    )


def interpolation_matrix(
    y: Float[Tensor, "b m d"],
    places: Float[Tensor, "b k d"],
    counts: Sequence[int],
    periodic: Sequence[bool],
) -> Float[Tensor, "b m k"]:
    """L with v(y) = L z for the polynomial that has the values z at ``places``.

    ``places`` are the centers of the cells, in any order.
    """
    return (
        product_basis(y.double(), counts, periodic)
        @ product_basis(places.double(), counts, periodic).mT
    )


def smoothing_fit_matrix(
    x: Float[Tensor, "b n d"],
    mask: Bool[Tensor, "b n"],
    counts: Sequence[int],
    periodic: Sequence[bool],
) -> Float[Tensor, "b k n"]:
    r"""P with z = P u: samples, at the centers of the cells, of a smoothing fit to values u.

        a = argmin  k mean_j |u_j − Σ_f w_f(x_j) a_f|² + 1e-10 Σ_f (1 + |ν_f|²)² a_f²,
        z_i = Σ_f w_f(a_i) a_f

    with ν_f the number of periods of w_f along each axis. At equidistant points, if there are at
    least as many as cells, this is the least-squares polynomial; the penalty reduces the highest of
    64 waves by less than 1e-3. If there are fewer points than waves, those with fewer periods are
    preferred.
    """
    x = x.double()
    basis = product_basis(x, counts, periodic) * mask[..., None]
    weight = math.prod(counts) / mask.sum(-1).double()[:, None, None]
    nu = torch.meshgrid(
        *(wave_numbers(count, closed) for count, closed in zip(counts, periodic, strict=True)),
        indexing="ij",
    )
    rough = (
        1
        + sum(
            (one.to(x).square() for one in nu), torch.zeros((), dtype=x.dtype, device=x.device)
        ).flatten()
    ).square()
    normal = weight * basis.mT @ basis + torch.diag(PENALTY * rough)
    coefficients = torch.linalg.solve(normal, weight * basis.mT)
    return (
        product_basis(grid_points(tuple(counts), x.dtype).to(x.device), counts, periodic)
        @ coefficients
    )


def channel_columns(
    dim: int, channels: Sequence[str], names: Sequence[str], schema: Schema
) -> list[int]:
    """The index in ``names`` of the variable of each channel, −1 if it holds none."""
    unknown = [name for name in channels if name not in ("", *schema.inputs, *schema.outputs)]
    if len(channels) > dim or unknown:
        raise ValueError(
            f"The Fourier basis got channels {list(channels)} for tokens of width {dim}, of the "
            f"variables {sorted({*schema.inputs, *schema.outputs})}. Give at most one name per "
            "channel, and set `dim` to their number."
        )
    return [
        list(names).index(name) if name in names else -1
        for name in (*channels, *[""] * (dim - len(channels)))
    ]
