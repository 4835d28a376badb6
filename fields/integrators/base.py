"""What a time-stepping method is, and which laws it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Law, VectorField


class Integrator(nn.Module, ABC):
    """One step of dz/dt = f(t, z), and what that step keeps exactly.

    ``keeps`` pairs a kind of field with the law that holds for it in discrete time, at every step size the field allows.
    What a method must remember between steps (the energy at the start, the last force) is ``carry``: passed and returned.
    """

    order: int
    keeps: ClassVar[tuple[tuple[type[VectorField], Law], ...]] = ()

    @abstractmethod
    def step(
        self, field: VectorField, t: float | Tensor, dt: float | Tensor, z: Tensor, context: Context, carry: Any
    ) -> tuple[Tensor, Any]:
        """State and carry at t + dt."""

    def init(self, field: VectorField, z: Tensor, context: Context) -> Any:
        """What the method remembers, at the start of a trajectory."""
        return ()

    def clamps(self, carry: Any, z: Tensor) -> Float[Tensor, "b"]:
        """How often, so far, the method had to leave its law to go on."""
        return z.new_zeros(z.shape[0])

    def law(self, field: VectorField) -> Law:
        """The law that this method keeps for this field; an error names methods that can, if this one cannot."""
        for kind, law in self.keeps:
            if isinstance(field, kind):
                return law
        if field.law is Law.NONE and not self.keeps:
            return Law.NONE
        able = sorted({i.__name__ for i in _finals(Integrator) if any(isinstance(field, kind) for kind, _ in i.keeps)})
        able += sorted(i.__name__ for i in _finals(Integrator) if not i.keeps) if field.law is Law.NONE else []
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
        """The state at each time, starting at times[0], with ``steps`` equal steps between neighbours."""
        states, carry = [z], self.init(field, z, context)
        for start, end in pairwise(times):
            dt = (end - start) / steps
            for i in range(steps):
                z, carry = self.step(field, start + i * dt, dt, z, context, carry)
            states.append(z)
        return torch.stack(states)


def _finals(cls: type) -> Iterator[type]:
    """Concrete subclasses, at any depth."""
    for sub in cls.__subclasses__():
        if not sub.__abstractmethods__:
            yield sub
        yield from _finals(sub)
