"""One flow of tokens, with what happens before and after it."""

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

WAVE_H_MAX = 4.0  # largest step that graph waves may learn; the Cayley transform is exact for any


class FlowBlock(nn.Module):
    r"""Rotate the channels, flow for some steps, then let each token move on its own.

        x ← R x;   x ← integrator(field, h)ˢᵗᵉᵖˢ x;   x ← react(x)

    Args:
        field, integrator: what moves the state and how; refused if the method cannot keep the
            field's law.
        steps: steps of the flow.
        h: their size at the start; learned between 0 and ``h_max``.
        rotate: a :class:`Rotation` of the channels.
        react: a :class:`SphereMLP` or a :class:`Reaction`.
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
                f"A step of {h} is outside (0, {h_max}), where steps are learned. Give 0 < h < h_max."
            )
        self.law = integrator.law(field)
        self.field, self.integrator, self.steps, self.h_max = field, integrator, steps, h_max
        self.rotate, self.react = rotate, react
        self.step_logit = nn.Parameter(torch.tensor(math.log(h / (h_max - h))))

    def h(self, tau: float | Tensor = 1.0) -> Float[Tensor, ""]:
        """Step size: learned, times the fraction τ ≤ 1 of a full pass."""
        return tau * self.h_max * self.step_logit.sigmoid()

    def prepare(
        self, state: Float[Tensor, "b k s"], tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k s"]:
        """The rotation; a heat channel beside the tokens' own is left alone."""
        if self.rotate is None:
            return state
        dim = len(self.rotate.weight)
        return torch.cat([self.rotate(state[..., :dim], tau), state[..., dim:]], dim=-1)

    def begin(self, state: Float[Tensor, "b k s"], context: Context) -> Any:
        """What the integrator carries, at the start of its steps."""
        return self.integrator.init(self.field, state, context)

    def advance(
        self, state: Tensor, carry: Any, context: Context, tau: float | Tensor = 1.0
    ) -> tuple[Tensor, Any]:
        """One step of the flow."""
        h = self.h(tau).to(state.dtype)
        return self.integrator.step(self.field, 0.0, h, state, context, carry)

    def finish(
        self, state: Tensor, context: Context, tau: float | Tensor = 1.0
    ) -> Float[Tensor, "b k s"]:
        """The part of each token alone; edges and heat stay."""
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
        """Rotation, flow and reaction."""
        state = self.prepare(state, tau)
        carry = self.begin(state, context)
        for _ in range(self.steps):
            state, carry = self.advance(state, carry, context, tau)
        return self.finish(state, context, tau)


def wave_blocks(
    dim: int,
    field: Callable[[], VectorField],
    integrator: Callable[[], Integrator],
    *,
    depth: int,
    h: float,
    ratio: float,
) -> list[FlowBlock]:
    """Blocks of a flow on a graph between the two channel mixings that keep ½|x|²: a rotation before, spheres after."""
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
