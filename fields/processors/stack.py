"""Blocks of flows, one after the other: depth for static maps, time for evolution."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fields.core.sample import Latent
from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.processors.base import Processor
from fields.processors.block import FlowBlock
from fields.processors.trace import FlowState, FlowTrace


class Stack(Processor):
    r"""Blocks in sequence, in both uses of time.

    Depth (no times asked): each block once. The law holds across the whole stack where the energy
    has no weights (graph fields); where it is learned (Hamiltonian) each block keeps an energy of
    its own and rotations between blocks keep |z|.

    Time: the tokens move along a flow and are read at each time asked, in passes of at most ``dt``.
    Blocks whose energy has no weights form one splitting of dz/dt = Σ f_l, repeated for the
    fraction τ of a pass. Of blocks with learned energies the last one is the flow in time, so that
    one energy is constant for ever; those before it prepare the tokens.

    Args:
        blocks: the blocks.
        dt: longest stretch of time, in units of ``t``, taken in one pass.
        recompute: saves the state only before each block and recomputes the rest in the backward
            pass.
    """

    def __init__(self, blocks: Sequence[FlowBlock], *, dt: float = 1.0, recompute: bool = False):
        super().__init__()
        self.blocks = cast(
            Sequence[FlowBlock], nn.ModuleList(blocks)
        )  # torch takes its members for any modules
        self.dt, self.recompute = dt, recompute

    @property
    def law(self) -> Invariant:
        """What the flow keeps; how far it reaches is in the class's docstring."""
        return self.blocks[-1].law

    @property
    def owns_energy(self) -> bool:
        """Whether each block has an energy of its own."""
        field = self.blocks[-1].field
        return isinstance(field, EnergyField) and field.learned_energy

    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """Tokens through all blocks, or at each time."""
        if t is None:
            context, state = self._start(latent, cond)
            for block in self.blocks:
                state = self._run(block, state, context)
            return latent._replace(z=self.blocks[-1].field.project(state))
        z = torch.stack([moved.z for moved in self.at(latent, cond, t.tolist())], dim=1)
        s = z.shape[1]
        pos = latent.pos if len(latent.pos) == 1 else latent.pos.repeat_interleave(s, dim=0)
        return latent._replace(z=rearrange(z, "b s k h -> (b s) k h"), pos=pos)

    def at(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None, times: Iterable[float]
    ) -> Iterator[Latent]:
        """Tokens at each of the ascending times, one after the other: a rollout of any length in the memory of one state."""
        context, state = self._start(latent, cond)
        for moved in self._at(state, context, times):
            yield latent._replace(z=self.blocks[-1].field.project(moved))

    def moments(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None
    ) -> Iterator[FlowState]:
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
                for moment in self._watch(
                    p * len(self.blocks) + stage, block, state, context, block.steps
                ):
                    yield moment
                    state = moment.state
                state = block.finish(state, context)

    @torch.no_grad()
    def trace(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None
    ) -> FlowTrace:
        """Energy, entropy, refused steps and step sizes along the way; the states keep the precision they have."""
        exact = copy.deepcopy(self).double()
        stages, h, energy, entropy, rejected_steps = [], [], [], [], []
        for moment in self.moments(latent, cond, passes=passes):
            field = exact.blocks[moment.stage % len(self.blocks)].field
            state, context = moment.state.double(), moment.context.double()
            stages.append(moment.stage)
            h.append(moment.h.double())
            rejected_steps.append(moment.rejected_steps.double())
            with full_precision(state):
                square = 0.5 * state.square().sum((-2, -1))
                energy.append(
                    field.energy(state, context) if isinstance(field, EnergyField) else square
                )
            found = field.entropy(state) if isinstance(field, EnergyField) else None
            if found is not None:
                entropy.append(found)
        columns = (torch.stack(x) for x in (h, energy, rejected_steps))
        return FlowTrace(stages, *columns, entropy=torch.stack(entropy) if entropy else None)

    def _watch(
        self, stage: int, block: FlowBlock, state: Tensor, context: Context, steps: int
    ) -> Iterator[FlowState]:
        state = block.prepare(state)
        carry = block.begin(state, context)
        for i in range(steps + 1):
            yield FlowState(
                stage,
                block,
                state,
                context,
                block.h(),
                block.integrator.rejected_steps(carry, state),
            )
            if i < steps:
                state, carry = block.advance(state, carry, context)

    def _start(self, latent: Latent, cond: Tensor | None) -> tuple[Context, Tensor]:
        z = latent.z.float() if latent.z.dtype in (torch.bfloat16, torch.float16) else latent.z
        context = Context.of(latent._replace(z=z), cond)
        return context, self.blocks[0].field.lift(z, context)

    def _run(self, block: FlowBlock, state: Tensor, context: Context, tau: float = 1.0) -> Tensor:
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
            passes = max(
                1, math.ceil((time - now) / self.dt - 1e-3)
            )  # times may be rounded to single precision
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
