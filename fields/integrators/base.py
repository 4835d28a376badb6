"""What a time-stepping method is, and which laws it keeps."""

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
    """One step of dz/dt = f(t, z), and what that step keeps exactly.

    ``preserves`` pairs a kind of field with the law that holds for it in discrete time, at every
    step size the field allows. What a method must remember between steps (the energy at the start,
    the last force) is ``carry``: passed and returned.
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
        """State and carry at t + dt."""

    def init(self, field: VectorField, z: Tensor, context: Context) -> Any:
        """What the method remembers, at the start of a trajectory."""
        return ()

    def rejected_steps(self, carry: Any, z: Tensor) -> Float[Tensor, "b"]:
        """How often, so far, the method had to leave its law to go on."""
        return z.new_zeros(z.shape[0])

    def law(self, field: VectorField) -> Invariant:
        """The law that this method keeps for this field; an error names methods that can, if this one cannot."""
        for kind, law in self.preserves:
            if _applies(field, kind, law):
                return law
        if field.law is Invariant.NONE and not self.preserves:
            return Invariant.NONE
        able = sorted(
            {
                i.__name__
                for i in _finals(Integrator)
                if any(_applies(field, kind, law) for kind, law in i.preserves)
            }
        )
        able += (
            sorted(i.__name__ for i in _finals(Integrator) if not i.preserves)
            if field.law is Invariant.NONE
            else []
        )
        raise ValueError(
            f"`{type(self).__name__}` cannot step `{type(field).__name__}` and keep its law ({field.law.value}). "
            f"Use {' or '.join(f'`{name}`' for name in able)}."
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
        """The state at each time, starting at times[0], with ``steps`` equal steps between neighbors."""
        states, carry = [z], self.init(field, z, context)
        for start, end in pairwise(times):
            dt = (end - start) / steps
            for i in range(steps):
                z, carry = self.step(field, start + i * dt, dt, z, context, carry)
            states.append(z)
        return torch.stack(states)


def _applies(field: VectorField, kind: type[VectorField], law: Invariant) -> bool:
    """Whether a pair of ``preserves`` speaks of this field: of its kind, and of the law that it states."""
    return isinstance(field, kind) and law in (field.law, Invariant.SYMPLECTIC)


def _finals(cls: type) -> Iterator[type]:
    """Concrete subclasses, at any depth."""
    for sub in cls.__subclasses__():
        if not sub.__abstractmethods__:
            yield sub
        yield from _finals(sub)
