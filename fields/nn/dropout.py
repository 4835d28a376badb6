"""Dropout of whole neurons, with masks that can be held over several calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


class NeuronDropout(nn.Module):
    r"""Whole neurons are dropped: one draw gives one thinned network for all samples and tokens.

        θ_ji = w_ji ε_i,   ε_i ~ Bernoulli(1 − p)    in training
        θ_ji = (1 − p) w_ji, the mean                in evaluation

    Values are not rescaled in training. Masks are drawn at every call. Inside
    `hold_dropout_masks` they stay the same, so that an energy is one function along a rollout.

    Reference: Srivastava et al. 2014, section 4.

    Args:
        dim: number of neurons.
        p: probability that a neuron is dropped.

    Example:
        >>> NeuronDropout(4, p=0.5).eval()(torch.ones(4))
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    def __init__(self, dim: int, *, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(
                f"NeuronDropout got p = {p}, which is not a probability below 1. Give 0 ≤ p < 1."
            )
        self.dim = dim
        self.p = p
        self.held: Tensor | None = None
        self.holding = False

    def forward(self, z: Float[Tensor, "... h"]) -> Float[Tensor, "... h"]:
        """z with dropped neurons in training, (1 − p) z in evaluation. Shape: (... h)."""
        if not self.training:
            return (1 - self.p) * z
        if self.held is not None:
            return z * self.held.to(z)
        mask = torch.rand(self.dim, device=z.device) >= self.p
        if self.holding:
            self.held = mask
        return z * mask.to(z.dtype)


@contextmanager
def hold_dropout_masks(model: nn.Module) -> Iterator[None]:
    """While the context is open, every `NeuronDropout` in ``model`` keeps its first mask."""
    layers = [m for m in model.modules() if isinstance(m, NeuronDropout)]
    before = [(layer.holding, layer.held) for layer in layers]
    for layer in layers:
        layer.holding = True
    try:
        yield
    finally:
        for layer, state in zip(layers, before, strict=True):
            layer.holding, layer.held = state
