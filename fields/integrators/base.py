"""The base class of time-stepping methods, and how a method is matched to a field's law."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Invariant, VectorField


class Integrator(nn.Module, ABC):
    """One step of dz/dt = f(t, z), and the invariants that the step preserves.

    The contract of a subclass:

    - Constructor ``(*, …)``: all arguments are keywords with defaults.
    - ``order`` is the order of convergence for small steps; a test measures it.
    - ``preserves`` pairs kinds of field with the invariant that holds for them in discrete time, at
      every step size and for all weights. A field with a law is stepped only by methods that
      preserve it (``law`` raises otherwise); a method with ``preserves`` steps only such fields.
    - ``step`` works on the lifted state, keeps its dtype (under autocast too), treats samples
      independently, is differentiable, and traces as one graph (except adaptive methods). ``dt`` is
      a float or a 0-dimensional tensor, which may require a gradient.
    - What a method remembers between steps (an energy, a force, a count) is the ``carry``: returned
      by ``init`` and ``step`` and passed to the next ``step``. It is never stored on the module.
    - ``rejected_steps`` counts steps that were cut or refused to preserve the invariant.

    ``tests/flows/test_integrators.py`` finds every subclass in ``fields.integrators`` and
    ``fields.flows`` and checks order and ``preserves`` for every field that it accepts.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> from fields.integrators import Verlet
        >>> method: Integrator = Verlet()
        >>> times = torch.linspace(0, 1, 4)
        >>> method.solve(HamiltonianField(8), torch.randn(2, 5, 8), times=times).shape
        torch.Size([4, 2, 5, 8])
    """

    order: int
    preserves: ClassVar[tuple[tuple[type[VectorField], Invariant], ...]] = ()

    @abstractmethod
    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """State and carry at t + dt.   Shape: z (b k s) -> (b k s)."""

    def init(self, field: VectorField, z: Tensor, context: Context) -> Any:
        """The carry at the start of a trajectory; empty unless overridden."""
        return ()

    def rejected_steps(self, carry: Any, z: Tensor) -> Float[Tensor, "b"]:
        """Steps of each sample, so far, that were cut or refused to preserve the invariant."""
        return z.new_zeros(z.shape[0])

    def law(self, field: VectorField) -> Invariant:
        """The invariant that this method preserves for this field.

        Raises:
            ValueError: none that the field states; the message names the methods that can.

        Example:
            >>> from fields.flows import HamiltonianField
            >>> from fields.integrators import EnergyProjectedVerlet
            >>> EnergyProjectedVerlet().law(HamiltonianField(8)).value
            'the energy is constant'
        """
        for kind, law in self.preserves:
            if _applies(field, kind, law):
                return law
        if field.law is Invariant.NONE and not self.preserves:
            return Invariant.NONE
        methods = list(_concrete_subclasses(Integrator))
        able = {
            method.__name__
            for method in methods
            if any(_applies(field, kind, law) for kind, law in method.preserves)
        }
        if field.law is Invariant.NONE:
            able |= {method.__name__ for method in methods if not method.preserves}
        raise ValueError(
            f"`{type(self).__name__}` cannot step `{type(field).__name__}` and keep its law "
            f"({field.law.value}). Use {' or '.join(f'`{name}`' for name in sorted(able))}."
        )

    def solve(
        self,
        field: VectorField,
        z: Float[Tensor, "b k h"],
        context: Context = Context(),
        *,
        times: Float[Tensor, "s"],
        steps: int = 1,
    ) -> Float[Tensor, "s b k h"]:
        """The state at each time, from times[0] on, with ``steps`` equal steps in between."""
        states = [z]
        carry = self.init(field, z, context)
        for start, end in pairwise(times):
            dt = (end - start) / steps
            for i in range(steps):
                z, carry = self.step(field, start + i * dt, dt, z, context, carry)
            states.append(z)
        return torch.stack(states)


def _applies(field: VectorField, kind: type[VectorField], law: Invariant) -> bool:
    """Whether an entry of ``preserves`` covers this field: its kind, and the law that it states."""
    return isinstance(field, kind) and law in (field.law, Invariant.SYMPLECTIC)


def _concrete_subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        if not sub.__abstractmethods__:
            yield sub
        yield from _concrete_subclasses(sub)
