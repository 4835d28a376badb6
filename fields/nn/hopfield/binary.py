"""Hopfield networks of ±1 neurons, from Hebb's rule to exponential capacity."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor


def hebbian(patterns: Float[Tensor, "k d"]) -> Float[Tensor, "d d"]:
    """W = Σᵢ xᵢ xᵢᵀ (Hebb's rule).

    The diagonal is not removed, so that W is positive semi-definite and synchronous updates do not
    cycle.
    """
    return patterns.mT @ patterns


class HopfieldNetwork:
    r"""The classical Hopfield network of ±1 neurons.

        E = −½ ξᵀ W ξ + ξᵀ b,    ξ ← sgn(W ξ − b)

    E never increases. About 0.14 d random patterns can be stored. A neuron whose input is zero
    keeps its value.

    Reference: Hopfield, PNAS 1982.

    Args:
        patterns: the stored patterns.
        threshold: b, by default zero.

    Shape: states (m d), patterns (k d), all ±1.

    Example:
        >>> patterns = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> HopfieldNetwork(patterns).update(torch.tensor([[1.0, 1.0, 1.0, -1.0]]))
        tensor([[ 1.,  1., -1., -1.]])
    """

    def __init__(
        self, patterns: Float[Tensor, "k d"], *, threshold: Float[Tensor, "d"] | None = None
    ):
        self.w = hebbian(patterns)
        self.b = torch.zeros_like(self.w[0]) if threshold is None else threshold

    def energy(self, states: Float[Tensor, "m d"]) -> Float[Tensor, "m"]:
        """The energy E of each state."""
        return -0.5 * ((states @ self.w) * states).sum(-1) + states @ self.b

    def update(self, states: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """Update all neurons simultaneously. Shape: (m d) -> (m d)."""
        field = states @ self.w - self.b
        return torch.where(field == 0, states, field.sign())

    def sweep(
        self, states: Float[Tensor, "m d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m d"]:
        """Update the neurons one after the other, in random order. Shape: (m d) -> (m d)."""
        states = states.clone()
        for l in torch.randperm(states.shape[-1], generator=generator).tolist():  # noqa: E741
            field = states @ self.w[l] - self.b[l]
            states[:, l] = torch.where(field == 0, states[:, l], field.sign())
        return states


class DenseAssociativeMemory(ABC):
    r"""Dense associative memory of ±1 neurons.   E = −Σᵢ F(xᵢ·ξ)

    An update gives neuron ξ_l the sign with the lower energy while the others are fixed, so that E
    never increases.

    Reference: Krotov & Hopfield 2016; Demircigil et al. 2017.

    Shape: states (m d), patterns (k d), all ±1.

    Example:
        >>> patterns = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> memory: DenseAssociativeMemory = PolynomialMemory(patterns, power=3)
        >>> memory.energy(patterns)
        tensor([-1.])
    """

    def __init__(self, patterns: Float[Tensor, "k d"]):
        self.patterns = patterns

    @abstractmethod
    def reward(self, overlap: Float[Tensor, "m k"]) -> Float[Tensor, "m"]:
        """An increasing function of Σᵢ F that does not overflow."""

    def energy(self, states: Float[Tensor, "m d"]) -> Float[Tensor, "m"]:
        """Minus the reward of each state; it orders states as E does."""
        return -self.reward(states @ self.patterns.mT)

    def sweep(
        self, states: Float[Tensor, "m d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m d"]:
        """Update the neurons one after the other, in random order; ties keep the sign."""
        states = states.clone()
        overlap = states @ self.patterns.mT
        for l in torch.randperm(states.shape[-1], generator=generator).tolist():  # noqa: E741
            flipped = overlap - 2 * states[:, l, None] * self.patterns[:, l]
            better = self.reward(flipped) > self.reward(overlap)
            states[:, l] = torch.where(better, -states[:, l], states[:, l])
            overlap = torch.where(better[:, None], flipped, overlap)
        return states


class PolynomialMemory(DenseAssociativeMemory):
    """F(s) = sᵃ, with a capacity of order d^(a−1); a = 2 is the classical network.

    Overlaps are divided by d.

    Example:
        >>> patterns = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> PolynomialMemory(patterns).sweep(torch.tensor([[1.0, 1.0, 1.0, -1.0]]))
        tensor([[ 1.,  1., -1., -1.]])
    """

    def __init__(self, patterns: Float[Tensor, "k d"], *, power: int = 3):
        super().__init__(patterns)
        self.power = power

    def reward(self, overlap: Float[Tensor, "m k"]) -> Float[Tensor, "m"]:
        """Σᵢ (xᵢ·ξ / d)ᵃ."""
        return (overlap / self.patterns.shape[-1]).pow(self.power).sum(-1)


class ExponentialMemory(DenseAssociativeMemory):
    """F(s) = exp(s), with a capacity of order 2^(d/2).

    Example:
        >>> patterns = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> ExponentialMemory(patterns).sweep(torch.tensor([[1.0, 1.0, 1.0, -1.0]]))
        tensor([[ 1.,  1., -1., -1.]])
    """

    def reward(self, overlap: Float[Tensor, "m k"]) -> Float[Tensor, "m"]:
        """log Σᵢ exp(xᵢ·ξ) for each state.   Shape: (m k) -> (m)."""
        return overlap.logsumexp(-1)
