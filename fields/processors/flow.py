"""Free composition of a vector field with an integrator that preserves its law."""

from __future__ import annotations

from collections.abc import Callable

from fields.dynamics.base import VectorField
from fields.integrators.base import Integrator
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.processors.block import flow_blocks
from fields.processors.stack import Stack


class Flow(Stack):
    """Tokens follow dz/dt = f(z), by a method that preserves the law of f.

    For any pair of a field and a method. Laws with a processor of their own (``fields.flows``) have
    shorter configurations.

    Args:
        dim: token width h.
        field: h -> f.
        integrator: the method; refused if it cannot preserve the law of f.
        depth: number of flows in sequence, each with weights of its own.
        steps: steps of each flow.
        h: initial step size; learned between 0 and ``h_max``.
        h_max: upper bound of the step size.
        rotate: rotate the channels before each flow after the first.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> from fields.integrators import RK4
        >>> Flow(16, field=HamiltonianField).law.value
        'the energy is constant'
        >>> Flow(16, field=HamiltonianField, integrator=RK4)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: `RK4` cannot step `HamiltonianField` and keep its law (the energy is ...
    """

    def __init__(
        self,
        dim: int,
        *,
        field: Callable[[int], VectorField],
        integrator: Callable[[], Integrator] = EnergyProjectedVerlet,
        depth: int = 1,
        steps: int = 4,
        h: float = 0.25,
        h_max: float = 1.0,
        rotate: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = flow_blocks(
            dim,
            lambda: field(dim),
            integrator,
            depth=depth,
            steps=steps,
            h=h,
            h_max=h_max,
            rotate=rotate,
        )
        super().__init__(blocks, dt=dt, recompute=recompute)
