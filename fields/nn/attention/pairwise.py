"""Attention for an energy together with its gradient, in few passes over the weights."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from fields.nn.attention.gradients import bilinear, bilinear_grad
from fields.nn.attention.statistics import AttentionStatistics, attention_statistics
from fields.nn.attention.weights import AttentionLayer, softmax


class EnergyAttentionFunction(torch.autograd.Function):
    r"""T = log Σₘ exp Sₙₘ,   U = A K,   W = Aᵀ Q   with S = Q Kᵀ + G, A = softmax S.

    The energy is computed from T, and its gradient from U and W. The backward pass is, with
    r = dU·U + Q·(A dW) for each row,

        dS = A ∘ (dU Kᵀ + Q dWᵀ + dT − r),   dQ = dS K + A dW,   dK = dSᵀ Q + Aᵀ dU,   dG = dS

    Autograd would store four matrices of the size of A and read or write such matrices about twenty
    times. Differentiable once.

    Shape: q, k (b heads n e), g (#b #heads n n) -> T (b heads n), U and W (b heads n e).

    Example:
        >>> q = torch.ones(1, 2, 3, 4)
        >>> [x.shape[2:] for x in EnergyAttentionFunction.apply(q, q, torch.zeros(1, 1, 3, 3))]
        [torch.Size([3]), torch.Size([3, 4]), torch.Size([3, 4])]
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Float[Tensor, "b heads n e"],
        k: Float[Tensor, "b heads n e"],
        g: Float[Tensor, "#b #heads n n"],
    ) -> tuple[
        Float[Tensor, "b heads n"], Float[Tensor, "b heads n e"], Float[Tensor, "b heads n e"]
    ]:
        """The tuple (T, U, W)."""
        score = bilinear(q, k).add_(g)
        a = softmax(score)
        total = score.amax(-1) - a.amax(-1).log()  # S − log A is the same in every column
        u, w, _ = bilinear_grad(q, k, a)  # A = dT/dS
        ctx.save_for_backward(q, k, a, u)
        ctx.shape = g.shape
        return total, u, w

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_total: Tensor, d_u: Tensor, d_w: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k and g."""
        q, k, a, u = ctx.saved_tensors
        d_q = a @ d_w
        row = d_total[..., None] - (d_u * u + q * d_q).sum(-1, keepdim=True)
        d_score = bilinear(torch.cat([d_u, q], -1), torch.cat([k, d_w], -1)).add_(row).mul_(a)
        through_q, through_k, _ = bilinear_grad(q, k, d_score)
        return d_q + through_q, a.mT @ d_u + through_k, d_score.sum_to_size(ctx.shape)


class EnergyAttention(AttentionLayer):
    """`EnergyAttentionFunction` as a layer, so that `capture_attention` records its weights.

    Example:
        >>> q = torch.ones(1, 2, 3, 4)
        >>> EnergyAttention()(q, q, torch.zeros(1, 1, 3, 3))[0].shape
        torch.Size([1, 2, 3])
    """

    def forward(self, q: Tensor, k: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tuple (T, U, W)."""
        return EnergyAttentionFunction.apply(q, k, g)  # type: ignore[no-any-return]

    def weights(self, q: Tensor, k: Tensor, g: Tensor) -> Float[Tensor, "b heads n n"]:
        """The weights A = softmax(q·k + g) over the keys."""
        return softmax(bilinear(q, k) + g)

    def stats(self, q: Tensor, k: Tensor, g: Tensor) -> AttentionStatistics:
        """Statistics of the weights A, one per head and query."""
        return attention_statistics(bilinear(q, k) + g)
