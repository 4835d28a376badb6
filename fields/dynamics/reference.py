"""Where the independent energies of laws are registered: the code that judges a law's step.

A law is verified with an energy that shares nothing with its step but the weights. The two
functions below are generic (:func:`functools.singledispatch`). The energies of the shipped laws are
in :mod:`fields.evaluation.reference_energies`; a new law registers its own in its own file:

    @reference_potential.register
    def _(v: Wells, q: Tensor, context: Context) -> ReferencePotential: ...
"""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Energy, EnergyField, VectorField


class ReferenceEnergy(NamedTuple):
    """Energy, entropy, and the scale in which a change of energy is measured, of each sample.

    Example:
        >>> ReferenceEnergy(torch.ones(2), torch.ones(2), torch.zeros(2)).entropy
        tensor([0., 0.])
    """

    energy: Float[Tensor, "b"]
    scale: Float[Tensor, "b"]
    entropy: Float[Tensor, "b"]


class ReferencePotential(NamedTuple):
    """V of each sample, and the sum of the sizes of its terms.

    Example:
        >>> from fields.dynamics.energies.attention import AttentionEnergy
        >>> reference_potential(AttentionEnergy(4), torch.randn(2, 5, 4), Context()).value.shape
        torch.Size([2])
    """

    value: Float[Tensor, "b"]
    size: Float[Tensor, "b"]


@singledispatch
def reference_energy(field: VectorField, state: Tensor, context: Context) -> ReferenceEnergy:
    """E, its scale and S of each sample, by code that shares nothing with the step.

    ½|z|² for a field without an energy. A field without registered code is asked for its own
    energy, which ``has_reference`` reports.

    Shape: state (b k s) -> three of (b).

    Example:
        >>> from fields.processors.attention_ode import AttentionField  # has no energy
        >>> reference_energy(AttentionField(8), torch.ones(2, 3, 8), Context()).energy
        tensor([12.0000, 12.0000])
    """
    if isinstance(field, EnergyField):
        energy = field.energy(state, context)
        size = half_square(state)
        return ReferenceEnergy(energy, energy.abs() + size, torch.zeros_like(energy))
    size = half_square(state)
    return ReferenceEnergy(size, size, torch.zeros_like(size))


@singledispatch
def reference_potential(v: Energy, q: Tensor, context: Context) -> ReferencePotential:
    """V(q) of each sample by independent code; the energy's own value where none is registered.

    Shape: q (b k c) -> two of (b).
    """
    value = v(q, context)
    return ReferencePotential(value, value.abs())


def has_reference(field: VectorField) -> bool:
    """Whether independent code is registered for the field and for every energy within it.

    Example:
        >>> from fields.evaluation import reference_energies  # registers those of shipped laws
        >>> from fields.flows import HamiltonianField
        >>> has_reference(HamiltonianField(8))
        True
    """
    own = reference_energy.dispatch(object), reference_potential.dispatch(object)
    energies = [m for m in field.modules() if isinstance(m, Energy)]
    return (
        not isinstance(field, EnergyField) or reference_energy.dispatch(type(field)) is not own[0]
    ) and all(reference_potential.dispatch(type(v)) is not own[1] for v in energies)


def half_square(state: Tensor) -> Float[Tensor, "b"]:
    """½|z|² of each sample."""
    return torch.linalg.vector_norm(state.flatten(1), dim=1).square() / 2
