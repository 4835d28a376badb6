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

# Of a frame: times are in single precision, and rounding must not add a step to an interval.
TOLERANCE = 1e-3


class Propagator(Component, ABC):
    """A map from the code of the given frames to the codes at later times, z(0) ↦ z(t).

    Times are counted in frames from the last given one. Subclasses are constructed as
    ``(dim, processor, *, …)`` with defaults for all further arguments.

    Args:
        dim: token width h.
        processor: maps tokens to tokens.

    Attributes:
        evolves: whether z(t) is a state from which later codes follow, so that it can be compared
            with the code of the true frame at time t.

    Example:
        >>> from fields.processors.transformer import Transformer
        >>> latent = Latent(torch.zeros(2, 4, 8), torch.zeros(1, 4, 1), torch.tensor([True]))
        >>> codes = list(Autoregressive(8, Transformer(8)).at(latent, None, [1.0, 2.0]))
        >>> len(codes), codes[0].z.shape
        (2, torch.Size([2, 4, 8]))
    """

    evolves: ClassVar[bool] = True

    def __init__(self, dim: int, processor: Processor):
        super().__init__()
        self.dim = dim
        self.processor = processor

    @abstractmethod
    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """Yield the code at each of the ascending times, so that a rollout holds one at a time."""

    def start(self, latent: Latent, cond: Float[Tensor, "b h"] | None) -> Latent:
        """Compute the code at time 0, of frames that were just encoded."""
        return next(iter(self.at(latent, cond, [0.0])))


class TimeConditioned(Propagator):
    r"""The processor is conditioned on the time and computes each code directly from the first.

        z(t) = P(z₀, c + τ(t)),    τ an MLP of t and of waves with periods of 2 to 512 frames

    No error accumulates from one time to the next, and nothing constrains the prediction beyond the
    times of the training data.

    Args:
        dim: token width h.
        processor: P.

    Shape: z₀ (b k h), c (b h) -> z(t) (b k h) for each time.

    Example:
        >>> from fields.processors.transformer import Transformer
        >>> latent = Latent(torch.zeros(2, 4, 8), torch.zeros(1, 4, 1), torch.tensor([True]))
        >>> next(TimeConditioned(8, Transformer(8)).at(latent, None, [0.5])).z.shape
        torch.Size([2, 4, 8])
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
        """Yield the code at each time; see `Propagator`."""
        for time in times:
            phase = time * self.frequency
            features = torch.cat([phase.sin(), phase.cos(), phase[-1:]])
            shift = self.time(features).expand(latent.z.shape[0], -1)
            yield self.processor(latent, shift if cond is None else cond + shift)


class Autoregressive(Propagator):
    r"""The processor advances the code from one time to the next.

        z(t + Δ) = P(z(t), c + W (Δ − 1)),    Δ ≤ ``longest`` frames

    Longer intervals are divided into equal steps of at most ``longest`` frames. Each step starts
    from the tokens only: other variables of a processor (the edges of a flow on a graph) start anew
    in every step, so an invariant of the processor holds within one step. The flows on graphs
    (`GraphHamiltonian`, `DoubleBracket`, `Metriplectic`) start with edges at rest, so |z|² does not
    increase along a rollout, whatever the weights.

    If all training steps had the length of one frame, then W = 0, and a prediction between frames
    gives a warning. Steps of other lengths are learned from files with unequal times, or from
    random times (``Objective.times``) with ``longest`` above one frame.

    Args:
        dim: token width h.
        processor: P.
        longest: longest step, in frames.

    Shape: z (b k h), c (b h) -> z(t) (b k h) for each time.

    Example:
        >>> from fields.processors.transformer import Transformer
        >>> latent = Latent(torch.zeros(2, 4, 8), torch.zeros(1, 4, 1), torch.tensor([True]))
        >>> codes = Autoregressive(8, Transformer(8)).at(latent, None, [1.0, 3.0])
        >>> [code.z.shape for code in codes]
        [torch.Size([2, 4, 8]), torch.Size([2, 4, 8])]
    """

    def __init__(self, dim: int, processor: Processor, *, longest: float = 1.0):
        super().__init__(dim, processor)
        self.longest = longest
        self.stride = nn.Linear(1, dim, bias=False)
        nn.init.zeros_(self.stride.weight)  # at the trained interval Δ = 1 nothing is added

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """Yield the code at each time; see `Propagator`."""
        now = 0.0
        for time in times:
            steps = math.ceil((time - now - TOLERANCE) / self.longest)
            delta = (time - now) / max(steps, 1)
            delta = 1.0 if abs(delta - 1) < TOLERANCE else delta
            if steps and delta != 1 and not self.training and not bool(self.stride.weight.any()):
                warnings.warn(
                    "`Autoregressive` was trained only on steps of one frame, so predictions at "
                    "times between frames are not reliable. Train `LatentFlow` for such times.",
                    stacklevel=2,
                )
            shift = self.stride(latent.z.new_tensor([delta - 1.0])).expand(latent.z.shape[0], -1)
            for _ in range(steps):
                latent = self.processor(latent, shift if cond is None else cond + shift)
            now = time
            yield latent


class LatentFlow(Propagator):
    r"""The code follows the processor's own flow, dz/dt = f(z), and is read at the requested times.

    The processor's invariant therefore holds along the whole rollout, at all requested times.

    Args:
        dim: token width h.
        processor: a flow, which defines f.

    Shape: z (b k h), c (b h) -> z(t) (b k h) for each time.

    Raises:
        ValueError: the processor is not a flow.

    Example:
        >>> from fields.flows.hamiltonian import Hamiltonian
        >>> latent = Latent(torch.zeros(2, 4, 16), torch.zeros(1, 4, 1), torch.tensor([True]))
        >>> flow = LatentFlow(16, Hamiltonian(16, depth=1))
        >>> next(iter(flow.at(latent, None, [0.25]))).z.shape
        torch.Size([2, 4, 16])
    """

    processor: Stack

    def __init__(self, dim: int, processor: Processor):
        super().__init__(dim, processor)
        if not isinstance(processor, Stack):
            raise ValueError(
                f"`LatentFlow` needs a processor that is a flow in time, but "
                f"{type(processor).__name__} is not. Use `Autoregressive`, or a flow such as "
                "`AttentionODE`."
            )

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """Yield the code at each time; see `Propagator`."""
        return self.processor.at(latent, cond, times)
