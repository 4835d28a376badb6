"""Blocks of flows, one after the other: depth for static maps, time for evolution."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fields.dynamics.base import Context, Law, LawfulField, SeparableHamiltonian, VectorField
from fields.dynamics.graph import Metriplectic
from fields.dynamics.hamiltonian import DampedHamiltonian
from fields.integrators.base import Integrator
from fields.nn.rotation import Reaction, Rotation, SphereMLP
from fields.processors.base import Processor
from fields.sample import Latent


class Moment(NamedTuple):
    """One state on the way through a processor, and what is needed to judge it."""

    stage: int  # the law compares states of one stage
    block: Block
    state: Float[Tensor, "b k s"]
    context: Context
    h: Tensor
    clamps: Float[Tensor, "b"]


class Trace(NamedTuple):
    """What can be watched, at every step of the flow, in double precision."""

    stage: list[int]
    h: Float[Tensor, "s"]
    energy: Float[Tensor, "s b"]  # of the field; ½|z|² for fields without one
    entropy: Float[Tensor, "s b"] | None
    clamps: Float[Tensor, "s b"]  # steps refused so far in the stage


class Block(nn.Module):
    r"""Rotate the channels, flow for some steps, then let each token move on its own.

        x ← R x;   x ← integrator(field, h)ˢᵗᵉᵖˢ x;   x ← react(x)

    Args:
        field, integrator: what moves the state and how; refused if the method cannot keep the field's law.
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
            raise ValueError(f"A step of {h} is outside (0, {h_max}), where steps are learned. Give 0 < h < h_max.")
        self.law = integrator.law(field)
        self.field, self.integrator, self.steps, self.h_max = field, integrator, steps, h_max
        self.rotate, self.react = rotate, react
        self.step_logit = nn.Parameter(torch.tensor(math.log(h / (h_max - h))))

    def h(self, tau: float | Tensor = 1.0) -> Float[Tensor, ""]:
        """Step size: learned, times the fraction τ ≤ 1 of a full pass."""
        return tau * self.h_max * self.step_logit.sigmoid()

    def prepare(self, state: Float[Tensor, "b k s"], tau: float | Tensor = 1.0) -> Float[Tensor, "b k s"]:
        """The rotation; a heat channel beside the tokens' own is left alone."""
        if self.rotate is None:
            return state
        dim = len(self.rotate.weight)
        return torch.cat([self.rotate(state[..., :dim], tau), state[..., dim:]], dim=-1)

    def begin(self, state: Float[Tensor, "b k s"], context: Context) -> Any:
        """What the integrator carries, at the start of its steps."""
        return self.integrator.init(self.field, state, context)

    def advance(self, state: Tensor, carry: Any, context: Context, tau: float | Tensor = 1.0) -> tuple[Tensor, Any]:
        """One step of the flow."""
        h = self.h(tau).to(state.dtype)
        return self.integrator.step(self.field, 0.0, h, state, context, carry)

    def finish(self, state: Tensor, context: Context, tau: float | Tensor = 1.0) -> Float[Tensor, "b k s"]:
        """The part of each token alone; edges and heat stay."""
        if self.react is None:
            return state
        q = self.field.read(state)
        n, dim = q.shape[1:]
        shift = 0.0 if context.cond is None else context.cond[:, None].to(q.dtype)
        moved = self.react(q, context.origin, tau, shift)
        moved = torch.cat([moved, state[:, :n, dim:]], dim=-1)
        return torch.cat([moved, state[:, n:]], dim=1)

    def forward(self, state: Tensor, context: Context, tau: float | Tensor = 1.0) -> Float[Tensor, "b k s"]:
        """Rotation, flow and reaction."""
        state = self.prepare(state, tau)
        carry = self.begin(state, context)
        for _ in range(self.steps):
            state, carry = self.advance(state, carry, context, tau)
        return self.finish(state, context, tau)


class Stack(Processor):
    r"""Blocks in sequence, in both uses of time.

    Depth (no times asked): each block once. The law holds across the whole stack where the energy has no weights (graph
    fields); where it is learned (Hamiltonian) each block keeps an energy of its own and rotations between blocks keep |z|.

    Time: the tokens move along a flow and are read at each time asked, in passes of at most ``dt``. Blocks whose energy has
    no weights form one splitting of dz/dt = Σ f_l, repeated for the fraction τ of a pass. Of blocks with learned energies
    the last one is the flow in time, so that one energy is constant for ever; those before it prepare the tokens.

    Args:
        blocks: the blocks.
        dt: longest stretch of time, in units of ``t``, taken in one pass.
        recompute: saves the state only before each block and recomputes the rest in the backward pass.
    """

    def __init__(self, blocks: list[Block], *, dt: float = 1.0, recompute: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.dt, self.recompute = dt, recompute

    @property
    def law(self) -> Law:
        """What the flow keeps; how far it reaches is in the class's docstring."""
        return self.blocks[-1].law

    @property
    def owns_energy(self) -> bool:
        """Whether each block has an energy of its own."""
        return isinstance(self.blocks[-1].field, SeparableHamiltonian | DampedHamiltonian)

    def forward(self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, t: Float[Tensor, "s"] | None = None) -> Latent:
        """Tokens through all blocks, or at each time."""
        if t is None:
            context, state = self._start(latent, cond)
            for block in self.blocks:
                state = self._run(block, state, context)
            return latent._replace(z=self.blocks[-1].field.read(state))
        z = torch.stack([moved.z for moved in self.at(latent, cond, t.tolist())], dim=1)
        s = z.shape[1]
        pos = latent.pos if len(latent.pos) == 1 else latent.pos.repeat_interleave(s, dim=0)
        return latent._replace(z=rearrange(z, "b s k h -> (b s) k h"), pos=pos)

    def at(self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]) -> Iterator[Latent]:
        """Tokens at each of the ascending times, one after the other: a rollout of any length in the memory of one state."""
        context, state = self._start(latent, cond)
        for moved in self._at(state, context, times):
            yield latent._replace(z=self.blocks[-1].field.read(moved))

    def moments(self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None) -> Iterator[Moment]:
        """Every step of the flow: through the depth, or for ``passes`` passes in time."""
        context, state = self._start(latent, cond)
        if passes is None or self.owns_energy:
            last = len(self.blocks) - 1
            for stage, block in enumerate(self.blocks):
                steps = block.steps if passes is None or stage < last else block.steps * passes
                for moment in self._watch(stage, block, state, context, steps):
                    yield moment
                    state = moment.state
                state = block.finish(state, context)
            return
        for p in range(passes):
            for stage, block in enumerate(self.blocks):
                for moment in self._watch(p * len(self.blocks) + stage, block, state, context, block.steps):
                    yield moment
                    state = moment.state
                state = block.finish(state, context)

    @torch.no_grad()
    def trace(self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None) -> Trace:
        """Energy, entropy, refused steps and step sizes along the way; the states keep the precision they have."""
        exact = copy.deepcopy(self).double()
        stages, h, energy, entropy, clamps = [], [], [], [], []
        for moment in self.moments(latent, cond, passes=passes):
            field = exact.blocks[moment.stage % len(self.blocks)].field
            state, context = moment.state.double(), moment.context.double()
            stages.append(moment.stage)
            h.append(moment.h.double())
            clamps.append(moment.clamps.double())
            lawful = isinstance(field, LawfulField)
            energy.append(field.energy(state, context) if lawful else 0.5 * state.square().sum((-2, -1)))
            if isinstance(field, Metriplectic):
                entropy.append(field.entropy(state))
        columns = [torch.stack(x) if x else None for x in (h, energy, entropy, clamps)]
        return Trace(stages, *columns)

    def _watch(self, stage: int, block: Block, state: Tensor, context: Context, steps: int) -> Iterator[Moment]:
        state = block.prepare(state)
        carry = block.begin(state, context)
        for i in range(steps + 1):
            yield Moment(stage, block, state, context, block.h(), block.integrator.clamps(carry, state))
            if i < steps:
                state, carry = block.advance(state, carry, context)

    def _start(self, latent: Latent, cond: Tensor | None) -> tuple[Context, Tensor]:
        z = latent.z.float() if latent.z.dtype in (torch.bfloat16, torch.float16) else latent.z
        context = Context.of(latent._replace(z=z), cond)
        return context, self.blocks[0].field.lift(z, context)

    def _run(self, block: Block, state: Tensor, context: Context, tau: float = 1.0) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, state, context, tau, use_reentrant=False)
        return block(state, context, tau)

    def _at(self, state: Tensor, context: Context, times: Iterable[float]) -> Iterator[Tensor]:
        """The state at each time, starting at 0."""
        *before, last = self.blocks
        carry = None
        if self.owns_energy:
            for block in before:
                state = self._run(block, state, context)
            state = last.prepare(state)
            carry = last.begin(state, context)
        now = 0.0
        for time in times:
            passes = max(1, math.ceil((time - now) / self.dt - 1e-3))  # times may be rounded to single precision
            tau = (time - now) / (passes * self.dt)
            for _ in range(passes if tau else 0):
                if self.owns_energy:
                    for _ in range(last.steps):
                        state, carry = last.advance(state, carry, context, tau)
                else:
                    for block in self.blocks:
                        state = self._run(block, state, context, tau)
            now = time
            yield last.finish(state, context) if self.owns_energy else state
