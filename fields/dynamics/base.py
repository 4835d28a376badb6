"""What moves tokens, and what stays fixed while they move."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Context(NamedTuple):
    """What a flow may look at but never changes along a trajectory: positions, periodic axes, conditioning."""

    pos: Float[Tensor, "#b k d"] | None = None
    periodic: Bool[Tensor, "d"] | None = None
    cond: Float[Tensor, "b h"] | None = None


class VectorField(nn.Module, ABC):
    """dz/dt = f(t, z). Constructor: ``(dim, *, …)``. Each field states its law in its docstring."""

    @abstractmethod
    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """dz/dt at time t."""


class Energy(nn.Module, ABC):
    """A learned scalar function of the tokens of one sample, with its gradient in closed form."""

    @abstractmethod
    def forward(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E(z)."""

    @abstractmethod
    def grad(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """∂E/∂z, usable under ``no_grad`` and ``inference_mode``."""
