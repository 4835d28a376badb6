"""One block of a processor: channel mixing, a flow of tokens, and a map of each token."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator
from fields.nn.rotation import Reaction, Rotation, SphereMLP

# Largest step that graph waves may learn. The Cayley transform preserves the energy at any step.
WAVE_H_MAX = 4.0


class FlowBlock(nn.Module):
    r"""Rotates channels, follows a flow for some steps, then maps each token by itself.

        x ← R x;   x ← integrator(field, h)ˢᵗᵉᵖˢ x;   x ← react(x)

    Args:
        field: the vector field.
        integrator: the method; refused if it cannot preserve the field's law.
        steps: steps of the flow.
        h: initial step size; learned between 0 and ``h_max``.
        h_max: upper bound of the step size.
        rotate: a :class:`Rotation` of the channels, applied once before the steps.
        react: a :class:`SphereMLP` or :class:`Reaction`, applied once after the steps.

    Raises:
        ValueError: a step outside (0, h_max), or a method that cannot preserve the field's law.

    Shape: state (b k s) -> (b k s).

    Example:
        >>> from fields.flows import HamiltonianField
        >>> from fields.integrators import EnergyProjectedVerlet
        >>> block = FlowBlock(field=HamiltonianField(8), integrator=EnergyProjectedVerlet())
        >>> block(torch.randn(2, 5, 8), Context()).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        *,
        field: VectorField,
        integrator: Integrator,
        steps: int = 1,
        h: float = 0.5,
        h_max: float = 1.0,
        rotate: Rotation | None = None,
        react: SphereMLP | Reaction | None = None,
    ):
        super().__init__()
        if not 0 < h < h_max:
            raise ValueError(
                f"A step of {h} is outside (0, {h_max}), where steps are learned. "
                "Give 0 < h < h_max."
            )
        self.law = integrator.law(field)
        self.field = field
        self.integrator = integrator
        self.steps = steps
        self.h_max = h_max
        self.rotate = rotate
        self.react = react
        self.step_logit = nn.Parameter(torch.tensor(math.log(h / (h_max - h))))

    def h(self, tau: float | Tensor = 1.0) -> Float[Tensor, ""]:
        """The learned step size, times the fraction τ ≤ 1 of a full pass."""
        return tau * self.h_max * self.step_logit.sigmoid()

    def prepare(
        self, state: Float[Tensor, "b k s"], tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k s"]:
        """The state with its first h channels rotated; a heat channel beside them is unchanged."""
        if self.rotate is None:
            return state
        dim = len(self.rotate.weight)
        return torch.cat([self.rotate(state[..., :dim], tau), state[..., dim:]], dim=-1)

    def begin(self, state: Float[Tensor, "b k s"], context: Context) -> Any:
        """The integrator's carry before its first step."""
        return self.integrator.init(self.field, state, context)

    def advance(
        self, state: Tensor, carry: Any, context: Context, tau: float | Tensor = 1.0
    ) -> tuple[Tensor, Any]:
        """State and carry after one step of size ``h(tau)``."""
        h = self.h(tau).to(state.dtype)
        return self.integrator.step(self.field, 0.0, h, state, context, carry)

    def finish(
        self, state: Tensor, context: Context, tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k s"]:
        """The state with each token mapped by ``react``; edges and heat are unchanged."""
        if self.react is None:
            return state
        q = self.field.project(state)
        n, dim = q.shape[1:]
        shift = 0.0 if context.cond is None else context.cond[:, None].to(q.dtype)
        moved = self.react(q, context.origin, tau, shift)
        moved = torch.cat([moved, state[:, :n, dim:]], dim=-1)
        return torch.cat([moved, state[:, n:]], dim=1)

    def forward(
        self, state: Tensor, context: Context, tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k s"]:
        """The state after rotation, all steps of the flow, and reaction."""
        state = self.prepare(state, tau)
        carry = self.begin(state, context)
        for _ in range(self.steps):
            state, carry = self.advance(state, carry, context, tau)
        return self.finish(state, context, tau)


def flow_blocks(
    dim: int,
    field: Callable[[], VectorField],
    integrator: Callable[[], Integrator],
    *,
    depth: int,
    steps: int,
    h: float,
    h_max: float,
    rotate: bool,
) -> list[FlowBlock]:
    """Blocks of the flow itself, with a rotation of the channels between blocks if asked for."""
    return [
        FlowBlock(
            field=field(),
            integrator=integrator(),
            steps=steps,
            h=h,
            h_max=h_max,
            rotate=Rotation(dim) if rotate and i else None,
        )
        for i in range(depth)
    ]


def wave_blocks(
    dim: int,
    field: Callable[[], VectorField],
    integrator: Callable[[], Integrator],
    *,
    depth: int,
    h: float,
    ratio: float,
) -> list[FlowBlock]:
    """Blocks of a flow on a graph between two maps of channels that preserve ½|x|².

    A rotation of the channels comes before the step, an MLP along the spheres of the tokens after.
    """
    return [
        FlowBlock(
            field=field(),
            integrator=integrator(),
            h=h,
            h_max=WAVE_H_MAX,
            rotate=Rotation(dim),
            react=SphereMLP(dim, ratio=ratio),
        )
        for _ in range(depth)
    ]
