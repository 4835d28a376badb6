"""Three ways from the code of the given frames to the code at a later time."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.component import Component
from fields.core.sample import Latent
from fields.processors.base import Processor
from fields.processors.stack import Stack

SLACK = 1e-3  # of a frame: times are kept in single precision, and an interval must not be cut in two for their rounding


class Propagator(Component, ABC):
    """Codes at later times. Constructor: ``(dim, processor)``. Times are counted in frames from the last given one.

    Attributes:
        evolves: whether the code at a time is a state from which later ones follow, so that it can
            be compared with the code of the true frame at that time.
    """

    evolves: ClassVar[bool] = True

    def __init__(self, dim: int, processor: Processor):
        super().__init__()
        self.dim, self.processor = dim, processor

    @abstractmethod
    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """The code at each of the ascending times, one after the other, so that a rollout needs memory for one."""

    def start(self, latent: Latent, cond: Float[Tensor, "b h"] | None) -> Latent:
        """The code of just encoded frames, at time 0."""
        return next(iter(self.at(latent, cond, [0.0])))


class TimeConditioned(Propagator):
    r"""Every time is asked of the processor by itself: time is one more coordinate of the query.

        z(t) = P(z₀, c + τ(t)),    τ an MLP of t and of waves with periods of 2 to 512 frames

    Nothing accumulates and nothing guarantees anything beyond the trained times.
    """

    evolves = False
    frequency: Tensor

    def __init__(self, dim: int, processor: Processor):
        super().__init__(dim, processor)
        self.register_buffer("frequency", 2 * math.pi / 2 ** torch.arange(1, 10), persistent=False)
        self.time = nn.Sequential(nn.Linear(19, dim), nn.GELU(), nn.Linear(dim, dim))

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """See `Propagator`."""
        for time in times:
            phase = time * self.frequency
            features = torch.cat([phase.sin(), phase.cos(), phase[-1:]])
            shift = self.time(features).expand(latent.z.shape[0], -1)
            yield self.processor(latent, shift if cond is None else cond + shift)


class Autoregressive(Propagator):
    r"""The processor is the step from one time to the next.

        z(t + Δ) = P(z(t), c + W (Δ − 1)),    Δ ≤ ``longest`` frames

    Longer intervals are cut into equal steps of at most ``longest``. Each step begins anew from the
    tokens, so what a processor carries beside them is forgotten and its law spans one step alone.
    One law remains of the flows on graphs (`GraphHamiltonian`, `DoubleBracket`, `Metriplectic`):
    their edges start at rest, so |z|² never rises along a rollout, whatever the weights. Where
    training has seen steps of one frame alone W is zero, and a prediction between frames warns.
    Steps of unequal length are learned from files with unequal times, or from random times of equal
    ones (``Objective.times``) where a step may be longer than a frame.

    Args:
        longest: step in frames.
    """

    def __init__(self, dim: int, processor: Processor, *, longest: float = 1.0):
        super().__init__(dim, processor)
        self.longest = longest
        self.stride = nn.Linear(1, dim, bias=False)
        nn.init.zeros_(self.stride.weight)  # at the trained interval Δ = 1 nothing is added

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """See `Propagator`."""
        now = 0.0
        for time in times:
            passes = math.ceil((time - now - SLACK) / self.longest)
            delta = (time - now) / max(passes, 1)
            delta = 1.0 if abs(delta - 1) < SLACK else delta
            if passes and delta != 1 and not self.training and not bool(self.stride.weight.any()):
                sentence = "`Autoregressive` was trained on whole frames alone: times between them are a guess. Train `LatentFlow` for those."
                warnings.warn(sentence, stacklevel=2)
            shift = self.stride(latent.z.new_tensor([delta - 1.0])).expand(latent.z.shape[0], -1)
            for _ in range(passes):
                latent = self.processor(latent, shift if cond is None else cond + shift)
            now = time
            yield latent


class LatentFlow(Propagator):
    r"""The code moves along the processor's own flow, dz/dt = f(z), at whose times it is read.

    The processor's law holds along the whole rollout, whatever the times asked for.

    Raises:
        ValueError: the processor is no flow.
    """

    processor: Stack

    def __init__(self, dim: int, processor: Processor):
        super().__init__(dim, processor)
        if not isinstance(processor, Stack):
            raise ValueError(
                f"{type(processor).__name__} has no time of its own to flow in. Use `Autoregressive`, or a flow such as `AttentionODE`."
            )

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """See `Propagator`."""
        return self.processor.at(latent, cond, times)
