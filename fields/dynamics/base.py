"""Vector fields on tokens, energies, and the invariants that a discrete flow can preserve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent
from fields.nn.geometry import periodic_coordinates


class Context(NamedTuple):
    """What a field may read and what does not change along a trajectory.

    Args:
        pos: positions of the tokens, in unit coordinates.
        periodic: which axes close on themselves.
        cond: the conditioning (constants of the PDE, times), one vector per sample.
        distance2: squared distances between tokens, across periodic boundaries.
        origin: the tokens as the encoder gave them.

    Example:
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> Context.of(latent).distance2.shape
        torch.Size([1, 5, 5])
    """

    pos: Float[Tensor, "#b k d"] | None = None
    periodic: Bool[Tensor, "d"] | None = None
    cond: Float[Tensor, "b h"] | None = None
    distance2: Float[Tensor, "#b k k"] | None = None
    origin: Float[Tensor, "b k h"] | None = None

    @classmethod
    def of(cls, latent: Latent, cond: Float[Tensor, "b h"] | None = None) -> Context:
        """The context of a flow that starts at ``latent``; distances are computed here, once."""
        pos = latent.pos.to(latent.z.dtype)
        places = periodic_coordinates(pos, latent.periodic)
        distance2 = (places[:, :, None] - places[:, None]).square().sum(-1)
        return cls(pos, latent.periodic, cond, distance2, latent.z)

    def double(self) -> Context:
        """The same context with all floating-point tensors in double precision."""
        return Context(
            *(x.double() if x is not None and x.is_floating_point() else x for x in self)
        )

    def shift(self, features: Float[Tensor, "b k h"]) -> Float[Tensor, "b k h"]:
        """Features plus the conditioning, which steers attention and energies without being state.

        Shape: (b k h) -> (b k h); only the first h channels of ``cond`` are used.
        """
        if self.cond is None:
            return features
        return features + self.cond[:, None, : features.shape[-1]].to(features.dtype)


def full_precision(z: Tensor) -> torch.autocast:
    """A context manager without autocast: states, energies and solves keep the dtype of ``z``."""
    return torch.autocast(device_type=z.device.type, enabled=False)


class Invariant(Enum):
    """What a discrete trajectory preserves at every step and step size, not only as h → 0.

    Example:
        >>> Invariant.DECAY.value
        'the energy never increases'
    """

    NONE = "no law"
    ENERGY = "the energy is constant"
    DECAY = "the energy never increases"
    METRIPLECTIC = "the energy is constant and the entropy never decreases"
    MAXIMUM = "values never leave the range they start in"
    SYMPLECTIC = "the step is symplectic: the energy error is bounded, not zero"


class VectorField(nn.Module, ABC):
    """dz/dt = f(t, z).

    The contract of a subclass:

    - Constructor ``(dim, *, …)`` with ``dim`` the token width h; all other arguments are keywords
      with defaults, except ``tokens`` (tokens per axis) where the tokens are a periodic grid.
    - ``law`` is what the exact flow preserves. An integrator that cannot preserve it is refused.
    - ``forward`` returns the dtype of ``z``. Every law shipped here is autonomous: t is not used.
    - ``context.cond`` changes f (or raises ``ValueError`` where the field does not use it); it is
      never part of the state. Every member of the context may be None, unless the field says so.
    - ``permutation_equivariant``: permuting tokens with their positions permutes f. False where
      tokens are a periodic grid in row-major order; f then commutes with shifts along the grid.
    - ``uses_positions``: whether f depends on ``context.pos``. Periodic axes enter through
      ``context.periodic`` and ``context.distance2``; positions that differ by a period are equal.
    - The moving state may hold more than the tokens (edges, heat): ``lift`` builds it from the
      tokens and ``project`` returns them, with ``project(lift(z)) == z``.

    ``tests/flows/test_fields.py`` finds every subclass in ``fields.flows`` and checks all of this,
    together with the law over 1000 steps for every integrator that claims it.

    Example:
        >>> from fields.flows import SkewAttentionField
        >>> field: VectorField = SkewAttentionField(8)
        >>> field(0.0, torch.randn(2, 5, 8)).shape, field.law.value
        (torch.Size([2, 5, 8]), 'the energy is constant')
    """

    law: ClassVar[Invariant] = Invariant.NONE
    permutation_equivariant: bool = True
    uses_positions: bool = True

    @abstractmethod
    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """dz/dt at time t.   Shape: (b k s) -> (b k s), the shape of the lifted state."""

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k s"]:
        """The state that starts at these tokens; the tokens themselves unless overridden."""
        return z

    def project(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b n h"]:
        """The tokens in a state: the inverse of ``lift``."""
        return state


class Energy(nn.Module, ABC):
    """A learned scalar function of the tokens of one sample, with its gradient in closed form.

    The contract of a subclass:

    - Constructor ``(dim, *, …)`` with ``dim`` the number of channels c; all other arguments are
      keywords with defaults, except ``tokens`` where the tokens are a periodic grid.
    - ``value_and_grad`` is the whole implementation. It works without autograd (``no_grad``,
      ``inference_mode``), in the dtype of ``z``, and is differentiable once more for training.
    - ``context.cond`` changes E, or raises ``ValueError`` where the energy does not use it.
    - ``permutation_invariant``: the order of tokens does not matter. False on periodic grids in
      row-major order, where E is invariant under shifts along the grid.
    - ``uses_positions``: whether E depends on positions.
    - ``bounded_below``: claimed for all weights; an orbit of constant energy then cannot escape.

    ``tests/flows/test_energies.py`` finds every subclass and checks the gradient against autograd,
    its derivative against finite differences, the claims above, and the value against independent
    code, which is registered with :func:`fields.dynamics.reference.reference_potential`.

    Example:
        >>> from fields.dynamics.energies.attention import AttentionEnergy
        >>> energy: Energy = AttentionEnergy(8)
        >>> value, grad = energy.value_and_grad(torch.randn(2, 5, 8))
        >>> value.shape, grad.shape
        (torch.Size([2]), torch.Size([2, 5, 8]))
    """

    permutation_invariant: bool = True
    uses_positions: bool = True
    bounded_below: ClassVar[bool] = False

    @abstractmethod
    def value_and_grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k h"]]:
        """E(z) and ∂E/∂z in one pass.   Shape: (b k h) -> (b), (b k h)."""

    def forward(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E(z) of each sample."""
        return self.value_and_grad(z, context)[0]

    def grad(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """The gradient ∂E/∂z.   Shape: (b k h) -> (b k h)."""
        return self.value_and_grad(z, context)[1]


class EnergyField(VectorField):
    """A vector field with an energy E, and an entropy S where its law involves one.

    Beyond the contract of :class:`VectorField`: ``energy`` returns one value per sample, also under
    ``inference_mode``. ``learned_energy`` is False where E has no weights, so that all blocks of a
    processor share one energy. :func:`fields.evaluation.verify.verify` does not call ``energy``: it
    uses the code registered with :func:`fields.dynamics.reference.reference_energy`.

    Example:
        >>> from fields.flows import GraphHamiltonianField
        >>> field: EnergyField = GraphHamiltonianField(8)
        >>> field.energy(field.lift(torch.ones(2, 5, 8))).shape, field.learned_energy
        (torch.Size([2]), False)
    """

    learned_energy: ClassVar[bool] = True

    @abstractmethod
    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E of each sample."""

    def entropy(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b"] | None:
        """S of each sample; None where the law involves no entropy."""
        return None


class SeparableHamiltonian(EnergyField):
    """E(q, p) = ½ Σ m⁻¹ p² + V(q), with q and p the two halves of the channels.

        dq/dt = m⁻¹ p,   dp/dt = −∇V(q)

    A subclass implements ``potential`` and ``inverse_mass``. ``Verlet``, ``ImplicitMidpoint``,
    ``EnergyProjectedVerlet`` and ``DiscreteGradient`` step any such field.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> field: SeparableHamiltonian = HamiltonianField(8)
        >>> value, grad = field.potential(torch.randn(2, 5, 4))
        >>> value.shape, grad.shape, field.inverse_mass().shape
        (torch.Size([2]), torch.Size([2, 5, 4]), torch.Size([4]))
    """

    law = Invariant.ENERGY

    @abstractmethod
    def potential(
        self, q: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b k c"]]:
        """The potential V(q) and its gradient ∇V(q).   Shape: (b k c) -> (b), (b k c)."""

    @abstractmethod
    def inverse_mass(self) -> Float[Tensor, "c"]:
        """m⁻¹ > 0 of each channel."""

    def kinetic(self, p: Float[Tensor, "b k c"]) -> Float[Tensor, "b"]:
        """T(p) = ½ Σ m⁻¹ p²."""
        return 0.5 * (p.square().sum(-2) @ self.inverse_mass())

    def energy(
        self, state: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = T + V of each sample."""
        q, p = state.chunk(2, dim=-1)
        return self.kinetic(p) + self.potential(q, context)[0]
