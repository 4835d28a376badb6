"""A sequence of flow blocks, used in depth (static maps) and in time (evolution)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fields.core.sample import Latent
from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.processors.base import Processor
from fields.processors.block import FlowBlock
from fields.processors.trace import FlowState, FlowTrace, observed


class Stack(Processor):
    r"""Blocks in sequence, in depth and in time.

    Depth (no times given): each block once. The law holds across the whole stack where the energy
    has no weights (graph flows). Where it is learned (Hamiltonian flows) each block preserves an
    energy of its own, and the maps between blocks preserve |z|.

    Time: the tokens move along a flow and are returned at each time, in passes of at most ``dt``.
    Blocks whose energy has no weights form one splitting of dz/dt = Σ f_l, repeated for the
    fraction τ of a pass. Of blocks with learned energies the last one is the flow in time, so that
    one energy is constant at all times; those before it prepare the tokens.

    Args:
        blocks: the blocks; the first one lifts the tokens to the state, the last one projects.
        dt: longest time, in units of ``t``, that is taken in one pass.
        recompute: store the state only before each block and recompute the rest in the backward
            pass, which saves memory.

    Shape: z (b k h) -> (b k h), or (b·s k h) at s times.

    Example:
        >>> from fields.flows import HamiltonianField
        >>> from fields.integrators import EnergyProjectedVerlet
        >>> block = FlowBlock(field=HamiltonianField(16), integrator=EnergyProjectedVerlet())
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> latent = Latent(torch.randn(2, 5, 16), pos, periodic)
        >>> Stack([block])(latent, None, torch.tensor([0.5, 1.0, 1.5])).z.shape
        torch.Size([6, 5, 16])
    """

    def __init__(self, blocks: Sequence[FlowBlock], *, dt: float = 1.0, recompute: bool = False):
        super().__init__()
        # torch types the members of a ModuleList as plain modules
        self.blocks = cast(Sequence[FlowBlock], nn.ModuleList(blocks))
        self.dt = dt
        self.recompute = recompute
        self.permutation_equivariant = all(b.field.permutation_equivariant for b in blocks)
        self.uses_positions = any(b.field.uses_positions for b in blocks)

    @property
    def law(self) -> Invariant:
        """The invariant that the blocks preserve; the class docstring says over which range."""
        return self.blocks[-1].law

    @property
    def owns_energy(self) -> bool:
        """Whether each block has a learned energy of its own."""
        field = self.blocks[-1].field
        return isinstance(field, EnergyField) and field.learned_energy

    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """The tokens after all blocks, or at each of the ascending times ``t``, stacked."""
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
        """Yields the tokens at each of the ascending times, holding one state in memory."""
        context, state = self._start(latent, cond)
        for moved in self._at(state, context, times):
            yield latent._replace(z=self.blocks[-1].field.project(moved))

    def flow_states(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None
    ) -> list[FlowState]:
        """Every step of the flow: through the depth, or for ``passes`` passes in time."""
        states: list[FlowState] = []
        self._observe(states.append, latent, cond, passes)
        return states

    @torch.no_grad()
    def trace(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, passes: int | None = None
    ) -> FlowTrace:
        """Energy, entropy, rejected steps and step size at every step, evaluated in float64.

        The states themselves are computed in the precision of the processor.
        """
        exact = copy.deepcopy(self).double()
        stages: list[int] = []
        h: list[Tensor] = []
        energy: list[Tensor] = []
        entropy: list[Tensor] = []
        rejected_steps: list[Tensor] = []

        def record(moved: FlowState) -> None:
            field = exact.blocks[moved.block].field
            state = moved.state.double()
            context = moved.context.double()
            stages.append(moved.stage)
            h.append(moved.h.double())
            rejected_steps.append(moved.rejected_steps.double())
            if not isinstance(field, EnergyField):
                energy.append(0.5 * state.square().sum((-2, -1)))
                return
            with full_precision(state):
                energy.append(field.energy(state, context))
            found = field.entropy(state)
            if found is not None:
                entropy.append(found)

        self._observe(record, latent, cond, passes)
        return FlowTrace(
            stages,
            torch.stack(h),
            torch.stack(energy),
            torch.stack(rejected_steps),
            torch.stack(entropy) if entropy else None,
        )

    def _observe(
        self,
        record: Callable[[FlowState], None],
        latent: Latent,
        cond: Tensor | None,
        passes: int | None,
    ) -> None:
        """Predict through the depth or in time, and pass every state on the way to ``record``."""
        with observed(self.blocks, record):
            if passes is None:
                self(latent, cond)
            else:
                list(self.at(latent, cond, [passes * self.dt]))

    def _start(self, latent: Latent, cond: Tensor | None) -> tuple[Context, Tensor]:
        """Context and lifted state; half-precision tokens become single."""
        z = latent.z.float() if latent.z.dtype in (torch.bfloat16, torch.float16) else latent.z
        context = Context.of(latent._replace(z=z), cond)
        return context, self.blocks[0].field.lift(z, context)

    def _run(self, block: FlowBlock, state: Tensor, context: Context, tau: float = 1.0) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, state, context, tau, use_reentrant=False)
        return block(state, context, tau)

    def _at(self, state: Tensor, context: Context, times: Iterable[float]) -> Iterator[Tensor]:
        """The lifted state at each time; the flow starts at time 0."""
        *before, last = self.blocks
        carry: Any = None
        if self.owns_energy:
            for block in before:
                state = self._run(block, state, context)
            state = last.prepare(state)
            carry = last.begin(state, context)
        now = 0.0
        for time in times:
            # 1e-3: times may have been rounded to single precision
            passes = max(1, math.ceil((time - now) / self.dt - 1e-3))
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
