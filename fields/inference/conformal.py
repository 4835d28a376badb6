r"""Split-conformal bands: intervals around predictions, calibrated on the validation split.

A score measures how wrong a prediction was on one sample, for example the largest error over the
domain in units of a predicted spread σ. With n exchangeable validation scores and q = the
⌈(n + 1)(1 − α)⌉-th smallest of them,

    1 − α ≤ P(score of a new sample ≤ q) ≤ 1 − α + 1/(n + 1)

for every model and every distribution of the data; the upper bound needs scores without ties. The
validation and test samples must come from the same distribution, and the model must not have been
selected on the same validation samples. The probability is over validation and test samples
together.

References: Vovk, Gammerman & Shafer, Algorithmic learning in a random world, 2005; Ma et al.,
Calibrated uncertainty quantification for operator learning, 2024.
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
    """Find the ⌈(n + 1)(1 − α)⌉-th smallest of n scores, separately for each trailing entry.

    Args:
        scores: scores of the validation samples; NaN counts as infinite.
        alpha: share of new samples that may lie outside of the band.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1, or there are too few samples for it.

    Example:
        >>> conformal_quantile(torch.arange(1.0, 10.0), alpha=0.1)
        tensor(9.)
    """
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha is the share of samples that may lie outside of the band, got {alpha}. Choose "
            "it between 0 and 1."
        )
    n = len(scores)
    # The small number is for rounding: 10 · (1 − 0.7) > 3 in floating point.
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    if rank > n:
        raise ValueError(
            f"{n} validation samples are too few for a band that holds {1 - alpha:.4g} of new "
            f"samples. Use at least {math.ceil(1 / alpha - 1e-9) - 1} of them, or a larger alpha."
        )
    return torch.where(scores.isnan(), torch.inf, scores).sort(dim=0).values[rank - 1]


def sup_scores(
    v_hat: Float[Tensor, "b s m o"],
    v: Float[Tensor, "b s m o"],
    mask: Bool[Tensor, "#b m"],
    spread: Float[Tensor, "b s m o"] | None = None,
) -> Float[Tensor, "b s o"]:
    """Compute max_x |v̂ − v| / σ, one score per sample, time and channel.

    With q the quantile of these scores, the band v̂ ± q σ holds the whole field of a new sample with
    probability 1 − α.

    Args:
        v_hat: predictions.
        v: targets.
        mask: which points are real.
        spread: σ > 0, an estimate of the error's size at each point, such as the standard deviation
            of an ensemble. Without it the band is equally wide everywhere.

    Raises:
        ValueError: the spread is not positive everywhere.

    Example:
        >>> v, mask = torch.zeros(2, 1, 3, 1), torch.ones(1, 3, dtype=torch.bool)
        >>> sup_scores(v + 0.5, v, mask).shape
        torch.Size([2, 1, 1])
    """
    scaled = _scaled_errors(v_hat, v, spread)
    real = rearrange(mask, "b m -> b 1 m 1")
    return reduce(torch.where(real, scaled, 0.0), "b s m o -> b s o", "max")


def point_scores(
    v_hat: Float[Tensor, "b s m o"],
    v: Float[Tensor, "b s m o"],
    mask: Bool[Tensor, "#b m"],
    spread: Float[Tensor, "b s m o"] | None = None,
    *,
    inside: float = 0.9,
) -> Float[Tensor, "b s o"]:
    """Compute the smallest r for which v̂ ± r σ holds the share ``inside`` of a sample's points.

    With q the quantile of these scores, a new sample has at least that share of its points inside
    v̂ ± q σ with probability 1 − α. This is a weaker statement than that of :func:`sup_scores`, with
    much narrower bands. The arguments are the same, and ``inside`` is the share of points.

    Example:
        >>> v, mask = torch.zeros(1, 1, 10, 1), torch.ones(1, 10, dtype=torch.bool)
        >>> v_hat = torch.arange(10.0).reshape(1, 1, 10, 1)
        >>> point_scores(v_hat, v, mask, inside=0.8).item()
        7.0
    """
    real = rearrange(mask, "b m -> b 1 m 1")
    errors = torch.where(real, _scaled_errors(v_hat, v, spread), torch.inf).sort(dim=2).values
    rank = (inside * real.sum(dim=2, keepdim=True) - 1e-6).ceil().long().clamp_min(1) - 1
    index = rank.expand(errors.shape[0], errors.shape[1], 1, errors.shape[3])
    return rearrange(errors.gather(2, index), "b s 1 o -> b s o")


def coverage(
    scores: Float[Tensor, "n *rest"], quantile: Float[Tensor, "*rest"]
) -> Float[Tensor, "*rest"]:
    """Compute the share of samples within the band, to be measured on the test split.

    Example:
        >>> coverage(torch.arange(1.0, 5.0), torch.tensor(3.0)).item()
        0.75
    """
    return (scores <= quantile).double().mean(dim=0)


def _scaled_errors(v_hat: Tensor, v: Tensor, spread: Tensor | None) -> Tensor:
    error = (v_hat - v).abs()
    if spread is None:
        return error
    if not bool((spread > 0).all()):
        raise ValueError(
            "The spread must be positive at every point, but its smallest value is "
            f"{spread.min().item():.3g}. Add a small floor, for instance 1 % of its mean."
        )
    return error / spread
