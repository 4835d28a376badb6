"""Any vector field with any integrator that keeps its law."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics.base import VectorField
from fields.flows.hamiltonian import HamiltonianField
from fields.integrators.base import Integrator
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.rotation import Rotation
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack


class Flow(Stack):
    """Tokens follow dz/dt = f(z), by a method that keeps the law of f; a pair that cannot is refused.

    Args:
        dim: token width h.
        field: h -> f.
        integrator: the method.
        depth: number of flows in sequence, each with weights of its own.
        steps: steps of each.
        h: their size at the start; learned between 0 and ``h_max``.
        rotate: rotate the channels before each flow after the first.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.

    Example:
        >>> from fields.dynamics import HamiltonianField
        >>> from fields.integrators import RK4
        >>> Flow(16, field=HamiltonianField, integrator=RK4)
        Traceback (most recent call last):
        ValueError: `RK4` cannot step `HamiltonianField` and keep its law (the energy is constant).
            Use …
    """

    def __init__(
        self,
        dim: int,
        *,
        field: Callable[[int], VectorField] = HamiltonianField,
        integrator: Callable[[], Integrator] = EnergyProjectedVerlet,
        depth: int = 1,
        steps: int = 4,
        h: float = 0.25,
        h_max: float = 1.0,
        rotate: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            FlowBlock(
                field=field(dim),
                integrator=integrator(),
                steps=steps,
                h=h,
                h_max=h_max,
                rotate=Rotation(dim) if rotate and i else None,
            )
            for i in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
