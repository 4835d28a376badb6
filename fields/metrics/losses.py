"""Relative L2 errors of fields in physical units: what training minimizes and what tables report.

All take v_hat, v (b s m o) and a mask (#b m) that is True at real points, and answer one value per
sample (b). Norms are plain sums over the points given (no quadrature weights). A truth that is zero
everywhere has no relative error: its absolute error ‖v̂‖ is used instead, so that one dead frame
neither stops nor blows up a training.
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

    For s = 1 this is the relative L2 of operator learning. Channels of different units belong in
    :func:`channel_relative_l2`: here the one with the largest numbers decides.
    """
    return _ratio(v_hat, v, mask, over=(2, 3)).mean(dim=1)


def trajectory_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """‖v̂ − v‖ / ‖v‖ over time steps, points and channels together (Frobenius norm of the whole trajectory).

    Differs from :func:`relative_l2` by up to a factor 5 on the same prediction where the field
    decays: name which one.
    """
    return _ratio(v_hat, v, mask, over=(1, 2, 3))


def channel_relative_l2(
    v_hat: Float[Tensor, "b s m o"], v: Float[Tensor, "b s m o"], mask: Bool[Tensor, "#b m"]
) -> Float[Tensor, "b"]:
    """mean_{s,o} ‖v̂_so − v_so‖ / ‖v_so‖, each norm over points alone, so that channels of any unit weigh the same."""
    return _ratio(v_hat, v, mask, over=(2,)).mean(dim=(1, 2))


def _ratio(v_hat: Tensor, v: Tensor, mask: Tensor, over: tuple[int, ...]) -> Tensor:
    if v_hat.shape != v.shape:
        raise ValueError(
            f"Prediction has shape {tuple(v_hat.shape)}, truth {tuple(v.shape)}. Both must be (b s m o)."
        )
    real = rearrange(mask, "b m -> b 1 m 1")
    # `where`, not a product: what a model says at padded points may be anything, NaN included.
    error = torch.where(real, v_hat - v, 0.0)
    size = torch.linalg.vector_norm(torch.where(real, v, 0.0), dim=over)
    return torch.linalg.vector_norm(error, dim=over) / torch.where(size > 0, size, 1.0)
