r"""The gradients of attention, written out: one source for the reference below and for energies in closed form.

    S^ij = Q^ia g_ab K^jb,    A = softmax_j(β S),    O = A V

    dA = dO Vᵀ,   dV = Aᵀ dO,   dS = β A ∘ (dA − rowsum(A ∘ dA)),   dQ = dS K gᵀ,   dK = dSᵀ Q g,   dg = Qᵀ dS K

For an energy, L = (1/β) Σᵢ log Σⱼ exp(β S^ij), the weights themselves are the gradient: ∂L/∂S = A.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class BilinearGrad(NamedTuple):
    """Gradients of a bilinear form with respect to its three arguments; ``g`` is None where g is the identity."""

    q: Float[Tensor, "*b m e"]
    k: Float[Tensor, "*b k f"]
    g: Float[Tensor, "*b e f"] | None


def bilinear(
    q: Float[Tensor, "*b m e"],
    k: Float[Tensor, "*#b k f"],
    g: Float[Tensor, "*#b e f"] | None = None,
) -> Float[Tensor, "*b m k"]:
    """S = Q g Kᵀ, with g the identity when it is None."""
    return (q if g is None else q @ g) @ k.mT


def bilinear_grad(
    q: Float[Tensor, "*b m e"],
    k: Float[Tensor, "*b k f"],
    d_scores: Float[Tensor, "*b m k"],
    g: Float[Tensor, "*#b e f"] | None = None,
) -> BilinearGrad:
    """dQ = dS K gᵀ, dK = dSᵀ Q g, dg = Qᵀ dS K (one per batch entry; sum over those that share g)."""
    if g is None:
        return BilinearGrad(d_scores @ k, d_scores.mT @ q, None)
    gathered = d_scores @ k
    return BilinearGrad(gathered @ g.mT, d_scores.mT @ (q @ g), q.mT @ gathered)


def softmax_grad(
    weights: Float[Tensor, "*b m k"], d_weights: Float[Tensor, "*b m k"], beta: float | Tensor = 1.0
) -> Float[Tensor, "*b m k"]:
    """dS = β A ∘ (dA − rowsum(A ∘ dA)), the product with the Jacobian β (diag p − p pᵀ) of each row."""
    return beta * weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))


def log_sum_exp(
    scores: Float[Tensor, "*b m k"],
    beta: float | Tensor = 1.0,
    mask: Bool[Tensor, "*#b #m k"] | None = None,
) -> tuple[Float[Tensor, "*b m"], Float[Tensor, "*b m k"]]:
    """L = (1/β) log Σⱼ exp(β S^ij) over allowed j, and ∂L/∂S = softmax(β S); a row without any has L = 0 and A = 0."""
    scaled = beta * scores
    if mask is not None:
        scaled = scaled.masked_fill(~mask, torch.finfo(scores.dtype).min)
    total = scaled.logsumexp(-1, keepdim=True)
    weights = torch.exp(scaled - total)
    if mask is not None:
        some = mask.any(-1, keepdim=True)
        total, weights = torch.where(some, total, 0.0), torch.where(some, weights, 0.0)
    return (total / beta)[..., 0], weights


class AttentionReference(torch.autograd.Function):
    """O = softmax(β Q g Kᵀ) V with every gradient as written above; for reading and testing, `attend` is for use.

    Shape: q (*b m e), k (*b k f), v (*b k w), g (*#b e f) -> (*b m w). The backward pass is itself
    differentiable.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: float = 1.0) -> Tensor:
        """Weighted mean of the values."""
        ctx.save_for_backward(q, k, v, g)
        ctx.beta = beta
        return torch.softmax(beta * bilinear(q, k, g), -1) @ v

    @staticmethod
    def backward(ctx, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        """Weights are recomputed, so that only the inputs are kept."""
        q, k, v, g = ctx.saved_tensors
        weights = torch.softmax(ctx.beta * bilinear(q, k, g), -1)
        d_scores = softmax_grad(weights, d_out @ v.mT, ctx.beta)
        d_q, d_k, d_g = bilinear_grad(q, k, d_scores, g)
        assert d_g is not None  # as g is not
        return d_q, d_k, weights.mT @ d_out, d_g.sum_to_size(g.shape), None
