"""Dropout of neurons, with masks that can be held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


class NeuronDropout(nn.Module):
    r"""Whole neurons fall silent: one draw makes one thinned network for all samples and tokens.

        θ_ji = w_ji ε_i,   ε_i ~ Bernoulli(1 − p) in training;   θ_ji = (1 − p) w_ji in evaluation, the mean

    Values are not rescaled in training. Masks are drawn at every call; inside `hold_dropout_masks` they stay, so
    that an energy remains one function along a rollout.

    Args:
        dim: number of neurons.
        p: probability that a neuron is silent.
    """

    def __init__(self, dim: int, *, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(
                f"NeuronDropout got p = {p}, which is no probability below 1. Give 0 ≤ p < 1."
            )
        self.dim, self.p = dim, p
        self.held: Tensor | None = None
        self.holding = False

    def forward(self, z: Float[Tensor, "... h"]) -> Float[Tensor, "... h"]:
        """z with neurons silenced, or with every neuron at its mean."""
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
    """Within this context every `NeuronDropout` in ``model`` draws its mask once, at its first call."""
    layers = [m for m in model.modules() if isinstance(m, NeuronDropout)]
    before = [(layer.holding, layer.held) for layer in layers]
    for layer in layers:
        layer.holding = True
    try:
        yield
    finally:
        for layer, state in zip(layers, before, strict=True):
            layer.holding, layer.held = state
