r"""The gradients of attention in closed form, for the reference below and for energies.

    S^ij = Q^ia g_ab K^jb,    A = softmax_j(β S),    O = A V

    dA = dO Vᵀ,   dV = Aᵀ dO,   dS = β A ∘ (dA − rowsum(A ∘ dA)),
    dQ = dS K gᵀ,   dK = dSᵀ Q g,   dg = Qᵀ dS K

For an energy, L = (1/β) Σᵢ log Σⱼ exp(β S^ij), the weights themselves are the gradient: ∂L/∂S = A.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class BilinearGrad(NamedTuple):
    """Gradients of q g kᵀ with respect to q, k and g; ``g`` is None where g is the identity.

    Example:
        >>> bilinear_grad(torch.ones(3, 2), torch.ones(4, 2), torch.ones(3, 4)).k.shape
        torch.Size([4, 2])
    """

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
    """dQ = dS K gᵀ, dK = dSᵀ Q g, dg = Qᵀ dS K.

    dg is given for each batch entry; sum it over the entries that share g.
    """
    if g is None:
        return BilinearGrad(d_scores @ k, d_scores.mT @ q, None)
    gathered = d_scores @ k
    return BilinearGrad(gathered @ g.mT, d_scores.mT @ (q @ g), q.mT @ gathered)


def softmax_grad(
    weights: Float[Tensor, "*b m k"], d_weights: Float[Tensor, "*b m k"], beta: float | Tensor = 1.0
) -> Float[Tensor, "*b m k"]:
    """dS = β A ∘ (dA − rowsum(A ∘ dA)): product with the Jacobian β (diag p − p pᵀ) of each row."""
    return beta * weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))


def log_sum_exp(
    scores: Float[Tensor, "*b m k"],
    beta: float | Tensor = 1.0,
    mask: Bool[Tensor, "*#b #m k"] | None = None,
) -> tuple[Float[Tensor, "*b m"], Float[Tensor, "*b m k"]]:
    """L = (1/β) log Σⱼ exp(β S^ij) over keys j whose mask is True, and ∂L/∂S = softmax(β S).

    A row without such keys has L = 0 and zero weights.
    """
    scaled = beta * scores
    if mask is not None:
        scaled = scaled.masked_fill(~mask, torch.finfo(scores.dtype).min)
    total = scaled.logsumexp(-1, keepdim=True)
    weights = torch.exp(scaled - total)
    if mask is not None:
        some = mask.any(-1, keepdim=True)
        total = torch.where(some, total, 0.0)
        weights = torch.where(some, weights, 0.0)
    return (total / beta)[..., 0], weights


class AttentionReference(torch.autograd.Function):
    """O = softmax(β Q g Kᵀ) V with the gradients above, as a reference for tests.

    `attention_kernel` computes the same faster. The backward pass is itself differentiable.

    Shape: q (*b m e), k (*b k f), v (*b k w), g (*#b e f) -> (*b m w).

    Example:
        >>> q, k, v, g = torch.ones(3, 2), torch.ones(4, 2), torch.ones(4, 5), torch.eye(2)
        >>> AttentionReference.apply(q, k, v, g).shape
        torch.Size([3, 5])
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: float = 1.0) -> Tensor:
        """The weighted means O of the values."""
        ctx.save_for_backward(q, k, v, g)
        ctx.beta = beta
        return torch.softmax(beta * bilinear(q, k, g), -1) @ v

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        """Gradients of q, k, v and g. The weights are recomputed; only inputs are stored."""
        q, k, v, g = ctx.saved_tensors
        weights = torch.softmax(ctx.beta * bilinear(q, k, g), -1)
        d_scores = softmax_grad(weights, d_out @ v.mT, ctx.beta)
        d_q, d_k, d_g = bilinear_grad(q, k, d_scores, g)
        assert d_g is not None  # as g is not
        return d_q, d_k, weights.mT @ d_out, d_g.sum_to_size(g.shape), None
