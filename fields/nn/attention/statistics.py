"""Statistics of attention weights; each query is a thermodynamic system, the keys its states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class AttentionStatistics(NamedTuple):
    r"""Statistics of p_j = exp(β S_j) / Z, one per query, in float32 or wider.

        F = −log Z / β = ⟨−S⟩ − H/β,      dH/dβ = −β Var(S)

    ``exp(entropy)`` is the effective number of keys that a query attends to, between 1 and the
    number of keys.

    Example:
        >>> attention_statistics(torch.zeros(2, 4)).entropy.exp()
        tensor([4., 4.])
    """

    log_partition: Float[Tensor, "*b"]  # log Z
    free_energy: Float[Tensor, "*b"]  # F
    mean_score: Float[Tensor, "*b"]  # ⟨S⟩
    entropy: Float[Tensor, "*b"]  # H = −Σ p log p
    entropy_slope: Float[Tensor, "*b"]  # dH/dβ


def attention_statistics(
    scores: Float[Tensor, "*b k"],
    *,
    beta: float | Tensor = 1.0,
    mask: Bool[Tensor, "*#b k"] | None = None,
) -> AttentionStatistics:
    """Statistics of softmax(β scores) over the keys whose mask is True.

    Scores are taken relative to the largest one, so that scores of ±1e4 lose no digits of the
    entropy. A query without keys has log Z = −∞, F = ∞ and zero otherwise, with finite gradients.

    Args:
        scores: S, one per query and key.
        beta: inverse temperature; a tensor must broadcast with the scores.
        mask: True where a query may attend to a key.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    some = allowed.any(-1)
    top = (
        scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).amax(-1, keepdim=True).detach()
    )
    # the score minus the largest one, 0 where the mask is False
    below = (scores - top).masked_fill(~allowed, 0.0)
    scaled = torch.where(allowed, beta * below, -torch.inf).masked_fill(~some[..., None], 0.0)
    log_z = scaled.logsumexp(-1, keepdim=True)
    log_p = beta * below - log_z
    p = torch.where(allowed, log_p.masked_fill(~allowed, 0.0).exp(), 0.0)
    mean = (p * below).sum(-1, keepdim=True)
    variance = (p * (below - mean).square()).sum(-1, keepdim=True)
    log_partition = torch.where(some[..., None], log_z + beta * top, -torch.inf)
    return AttentionStatistics(
        log_partition=log_partition[..., 0],
        free_energy=(-log_partition / beta)[..., 0],
        mean_score=torch.where(some, (mean + top)[..., 0], 0.0),
        entropy=-(p * log_p).sum(-1),
        entropy_slope=(-beta * variance)[..., 0],
    )
