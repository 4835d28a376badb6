"""Relative L2 errors of fields in physical units: what training minimizes and what tables report.

All take v_hat, v (b s m o) and a mask (#b m) that is True at real points, and return one value per
sample (b), :func:`output_relative_l2` one per sample, step and channel (b s o). Norms are plain
sums over the given points, without quadrature weights. Where the truth is zero everywhere the
absolute error ‖v̂‖ is used instead, so that a frame of zeros gives neither an infinite loss nor NaN.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


def relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_s ‖v̂_s − v_s‖ / ‖v_s‖, each norm over points and channels together.

    For s = 1 this is the usual relative L2 of operator learning. The channel with the largest
    values dominates; use :func:`channel_relative_l2` for channels of different units.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return _ratio(v_hat, v, mask, over=(2, 3)).mean(dim=1)


def trajectory_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """‖v̂ − v‖ / ‖v‖, each norm over time steps, points and channels together.

    For the same prediction of a field that decays, this and :func:`relative_l2` can differ by a
    factor of 5: state which one is reported.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> trajectory_relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return _ratio(v_hat, v, mask, over=(1, 2, 3))


def channel_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_{s,o} ‖v̂_so − v_so‖ / ‖v_so‖, each norm over points only.

    Every channel has the same weight, whatever its unit.

    Example:
        >>> v = torch.ones(2, 3, 8, 1)
        >>> channel_relative_l2(1.5 * v, v, torch.ones(1, 8) > 0)
        tensor([0.5000, 0.5000])
    """
    return output_relative_l2(v_hat, v, mask).mean(dim=(1, 2))


def output_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b s o"]:
    """‖v̂_so − v_so‖ / ‖v_so‖ of every step s and channel o, each norm over points only.

    It does not depend on the units of the channels.

    Example:
        >>> v = torch.ones(2, 3, 8, 2)
        >>> scale = torch.tensor([1.5, 1.0])
        >>> output_relative_l2(scale * v, v, torch.ones(1, 8) > 0)[0, 0]
        tensor([0.5000, 0.0000])
    """
    return _ratio(v_hat, v, mask, over=(2,))


def _ratio(v_hat: Tensor, v: Tensor, mask: Tensor, over: tuple[int, ...]) -> Tensor:
    if v_hat.shape != v.shape:
        raise ValueError(
            f"The prediction has shape {tuple(v_hat.shape)} and the truth {tuple(v.shape)}. "
            "Both must be (b s m o), with the same times and points."
        )
    real = rearrange(mask, "b m -> b 1 m 1")
    # `where`, not a product: predictions at padded points may be anything, NaN included.
    error = torch.where(real, v_hat - v, 0.0)
    size = torch.linalg.vector_norm(torch.where(real, v, 0.0), dim=over)
    return torch.linalg.vector_norm(error, dim=over) / torch.where(size > 0, size, 1.0)
