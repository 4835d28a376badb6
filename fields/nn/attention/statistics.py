"""What the weights of attention say: each query is a thermodynamic system whose states are the keys."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class AttentionStatistics(NamedTuple):
    r"""Statistics of p_j = exp(β S_j) / Z, one per query; in float32 at least.

        F = −log Z / β = ⟨−S⟩ − H/β,      dH/dβ = −β Var(S)

    ``exp(entropy)`` is the effective number of keys a query looks at, from 1 to their number.
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
    """Statistics of softmax(β scores) over the keys whose mask is True; a tensor β has to broadcast with the scores.

    Everything is measured from the largest score, so that scores of ±1e4 lose no digits of the
    entropy. A query without keys has log Z = −∞, F = ∞ and zero for the rest; gradients stay
    finite.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    some = allowed.any(-1)
    top = (
        scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).amax(-1, keepdim=True).detach()
    )
    below = (scores - top).masked_fill(
        ~allowed, 0.0
    )  # the score less the largest one; 0 where it does not count
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
