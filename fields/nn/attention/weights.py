"""Attention weights as a matrix, for layers that need more than their product with values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.attention.gradients import log_sum_exp
from fields.nn.attention.statistics import AttentionStatistics, attention_statistics


def softmax(
    scores: Float[Tensor, "*#b m k"], mask: Bool[Tensor, "*#b #m k"] | None = None
) -> Float[Tensor, "*b m k"]:
    """α = softmax_j(S) over the keys whose mask is True.

    A query without such keys has zero weights and finite gradients.
    """
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask


class AttentionLayer(nn.Module, ABC):
    """A layer that computes attention weights, and returns them for the arguments of its call.

    `fields.nn.attention.capture.capture_attention` finds every such layer of a model.

    Example:
        >>> layer: AttentionLayer = Softmax()
        >>> layer.weights(torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """

    @abstractmethod
    def weights(self, *args: Any, **kwargs: Any) -> Float[Tensor, "*b m k"]:
        """α ≥ 0 with rows that sum to one; a query without keys has a row of zeros."""

    @abstractmethod
    def stats(self, *args: Any, **kwargs: Any) -> AttentionStatistics:
        """Log-partition, free energy, mean score, entropy and entropy slope of each query."""


class Softmax(AttentionLayer):
    """`softmax` as a layer without parameters, so that `capture_attention` records its weights.

    It serves graphs, coboundaries and moments, which need α itself. If α is only multiplied with
    values, `attention_kernel` computes the product without storing α.

    Shape: scores (*b m k), mask broadcastable to it -> (*b m k).

    Example:
        >>> Softmax()(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def forward(
        self, scores: Float[Tensor, "*#b m k"], mask: Bool[Tensor, "*#b #m k"] | None = None
    ) -> Float[Tensor, "*b m k"]:
        """The weights α of these scores."""
        return softmax(scores, mask)

    def weights(self, scores: Tensor, mask: Tensor | None = None) -> Float[Tensor, "*b m k"]:
        """The weights α of these scores."""
        return softmax(scores, mask)

    def stats(self, scores: Tensor, mask: Tensor | None = None) -> AttentionStatistics:
        """Statistics of the weights α of these scores, one per query."""
        return attention_statistics(scores, mask=mask)


class LogSumExp(AttentionLayer):
    """`log_sum_exp` as a layer: the attention term of an energy, with its gradient as weights.

    Shape: scores (*b m k) -> L (*b m), α (*b m k).

    Example:
        >>> value, weights = LogSumExp()(torch.zeros(2, 4))
        >>> value.shape, weights.shape
        (torch.Size([2]), torch.Size([2, 4]))
    """

    def forward(
        self,
        scores: Float[Tensor, "*b m k"],
        beta: float | Tensor = 1.0,
        mask: Bool[Tensor, "*#b #m k"] | None = None,
    ) -> tuple[Float[Tensor, "*b m"], Float[Tensor, "*b m k"]]:
        """L = (1/β) log Σⱼ exp(β S^ij) and α = ∂L/∂S."""
        return log_sum_exp(scores, beta, mask)

    def weights(
        self, scores: Tensor, beta: float | Tensor = 1.0, mask: Tensor | None = None
    ) -> Float[Tensor, "*b m k"]:
        """The weights α of these scores."""
        return log_sum_exp(scores, beta, mask)[1]

    def stats(
        self, scores: Tensor, beta: float | Tensor = 1.0, mask: Tensor | None = None
    ) -> AttentionStatistics:
        """Statistics of the weights α of these scores, one per query."""
        return attention_statistics(scores, beta=beta, mask=mask)
