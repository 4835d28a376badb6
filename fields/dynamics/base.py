"""What moves tokens, and what stays fixed while they move."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.geometry import embed


class Context(NamedTuple):
    """What a flow may look at but never changes along a trajectory: positions, periodic axes, conditioning, the start."""

    pos: Float[Tensor, "#b k d"] | None = None
    periodic: Bool[Tensor, "d"] | None = None
    cond: Float[Tensor, "b h"] | None = None
    distance2: Float[Tensor, "#b k k"] | None = None  # squared distances between tokens
    origin: Float[Tensor, "b k h"] | None = None  # the tokens as they came from the encoder

    @classmethod
    def of(cls, latent: Latent, cond: Float[Tensor, "b h"] | None = None) -> Context:
        """The context of a flow that starts at ``latent``; distances are computed here, once."""
        pos = latent.pos.to(latent.z.dtype)
        places = embed(pos, latent.periodic)
        distance2 = (places[:, :, None] - places[:, None]).square().sum(-1)
        return cls(pos, latent.periodic, cond, distance2, latent.z)

    def double(self) -> Context:
        """Everything that is a number, in double precision."""
        return Context(
            *(x.double() if x is not None and x.is_floating_point() else x for x in self)
        )

    def shift(self, features: Float[Tensor, "b k h"]) -> Float[Tensor, "b k h"]:
        """Features with the conditioning added, so that it steers attention and energies but is no part of the state."""
        if self.cond is None:
            return features
        return features + self.cond[:, None, : features.shape[-1]].to(features.dtype)


def full_precision(z: Tensor) -> torch.autocast:
    """Switches autocast off: states, energies and linear solves stay in the precision of the state."""
    return torch.autocast(device_type=z.device.type, enabled=False)


class Invariant(Enum):
    """What stays true along a trajectory, step by step and not only in the limit of small steps."""

    NONE = "no law"
    ENERGY = "the energy is constant"
    DECAY = "the energy never increases"
    METRIPLECTIC = "the energy is constant and the entropy never decreases"
    MAXIMUM = "values never leave the range they start in"
    SYMPLECTIC = "the step is symplectic: the energy error is bounded, not zero"


class VectorField(nn.Module, ABC):
    """dz/dt = f(t, z). Constructor: ``(dim, *, …)``. Each field states its law in its docstring.

    The state that moves may hold more than the tokens (edge tokens, a heat variable): ``lift``
    builds it, ``project`` takes the tokens out again.
    """

    law: ClassVar[Invariant] = Invariant.NONE

    @abstractmethod
    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """dz/dt at time t."""

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k s"]:
        """Tokens -> state."""
        return z

    def project(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b n h"]:
        """State -> tokens."""
        return state


class Energy(nn.Module, ABC):
    """A learned scalar function of the tokens of one sample, with its gradient in closed form."""

    @abstractmethod
    def value_and_grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k h"]]:
        """E(z) and ∂E/∂z in one pass, usable under ``no_grad`` and ``inference_mode``."""

    def forward(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E(z)."""
        return self.value_and_grad(z, context)[0]

    def grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """∂E/∂z."""
        return self.value_and_grad(z, context)[1]


class EnergyField(VectorField):
    """A field with an energy: it can be asked how much of it a state holds."""

    learned_energy: ClassVar[bool] = (
        True  # False where E has no weights, hence is the same for every block
    )

    @abstractmethod
    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E of each sample."""

    def entropy(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b"] | None:
        """S of each sample; None where the law speaks of no entropy."""
        return None


class SeparableHamiltonian(EnergyField):
    """E(q, p) = ½ Σ m⁻¹ p² + V(q), with q and p the two halves of the channels:   dq/dt = m⁻¹ p,   dp/dt = −∇V(q)."""

    law = Invariant.ENERGY

    @abstractmethod
    def potential(
        self, q: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """V(q) and ∇V(q)."""

    @abstractmethod
    def inverse_mass(self) -> Float[Tensor, "c"]:
        """m⁻¹ > 0 of each channel."""

    def kinetic(self, p: Float[Tensor, "b k c"]) -> Float[Tensor, "b"]:
        """T(p) = ½ Σ m⁻¹ p²."""
        return 0.5 * (p.square().sum(-2) @ self.inverse_mass())

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = T + V."""
        q, p = state.chunk(2, dim=-1)
        return self.kinetic(p) + self.potential(q, context)[0]
