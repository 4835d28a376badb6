"""Split-conformal bands: how far off a prediction may be, from its errors on the validation split.

A score says how wrong a prediction was on one sample, e.g. the largest error over the domain in
units of a predicted spread σ. With n exchangeable validation scores and q = the ⌈(n + 1)(1 − α)⌉-th
smallest of them,

    1 − α ≤ P(score of a new sample ≤ q) ≤ 1 − α + 1/(n + 1)      (the upper bound for scores without ties)

whatever the model and the distribution of the data, as long as validation and test samples come
from the same one and the model was not chosen by the same validation samples. The probability is
over validation and test samples together.

Reference: Vovk, Gammerman & Shafer, 2005; Ma et al., Calibrated uncertainty quantification for
operator learning, 2024.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor


def conformal_quantile(
    scores: Float[Tensor, "n *rest"], *, alpha: float = 0.1
) -> Float[Tensor, "*rest"]:
    """The ⌈(n + 1)(1 − α)⌉-th smallest of n scores, separately for each of the trailing entries."""
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha is the share of samples allowed outside, got {alpha}. Choose it between 0 and 1."
        )
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)  # 10 · (1 − 0.7) > 3 in floating point
    if rank > n:
        raise ValueError(
            f"{n} validation samples cannot give a band that holds {1 - alpha:.4g} of new samples. "
            f"Use at least {math.ceil(1 / alpha - 1e-9) - 1} of them, or a larger alpha."
        )
    return torch.where(scores.isnan(), torch.inf, scores).sort(dim=0).values[rank - 1]


def sup_scores(
    v_hat: Float[Tensor, "b s m o"],
    v: Float[Tensor, "b s m o"],
    mask: Bool[Tensor, "#b m"],
    spread: Float[Tensor, "b s m o"] | None = None,
) -> Float[Tensor, "b s o"]:
    """max_x |v̂ − v| / σ: the band v̂ ± q σ then holds the whole field of a new sample with probability 1 − α.

    One score per step and channel. ``spread`` σ is any positive guess of the error's size at a
    point, such as the standard deviation of an ensemble; without it the band is equally wide
    everywhere.
    """
    scaled = _scaled(v_hat, v, spread)
    return reduce(
        torch.where(rearrange(mask, "b m -> b 1 m 1"), scaled, 0.0), "b s m o -> b s o", "max"
    )


def point_scores(
    v_hat: Float[Tensor, "b s m o"],
    v: Float[Tensor, "b s m o"],
    mask: Bool[Tensor, "#b m"],
    spread: Float[Tensor, "b s m o"] | None = None,
    *,
    inside: float = 0.9,
) -> Float[Tensor, "b s o"]:
    """The smallest r such that the band v̂ ± r σ holds the share ``inside`` of a sample's points.

    With q the quantile of these scores, a new sample has at least that share of its points inside
    v̂ ± q σ with probability 1 − α: a milder promise than :func:`sup_scores`, for much narrower
    bands.
    """
    real = rearrange(mask, "b m -> b 1 m 1")
    points = torch.where(real, _scaled(v_hat, v, spread), torch.inf).sort(dim=2).values
    rank = (inside * real.sum(dim=2, keepdim=True) - 1e-6).ceil().long().clamp_min(1) - 1
    index = rank.expand(points.shape[0], points.shape[1], 1, points.shape[3])
    return rearrange(points.gather(2, index), "b s 1 o -> b s o")


def coverage(
    scores: Float[Tensor, "n *rest"], quantile: Float[Tensor, "*rest"]
) -> Float[Tensor, "*rest"]:
    """Share of samples within the band, to be measured on the test split."""
    return (scores <= quantile).double().mean(dim=0)


def _scaled(v_hat: Tensor, v: Tensor, spread: Tensor | None) -> Tensor:
    error = (v_hat - v).abs()
    if spread is None:
        return error
    if not bool((spread > 0).all()):
        raise ValueError(
            f"The spread must be positive at every point, its smallest value is {spread.min().item():.3g}. "
            "Add a small floor, for instance 1 % of its mean."
        )
    return error / spread
