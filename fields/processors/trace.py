"""Diagnostics of a flow: the states along the way, and energies computed from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, VectorField
from fields.integrators.base import Integrator
from fields.processors.block import FlowBlock


class FlowState(NamedTuple):
    """One state of a flow, with what is needed to evaluate its law.

    Args:
        stage: number of the run of a block; a law compares states of one stage.
        block: index of the block that is running.
        state: the lifted state.
        context: what the field reads; a new object each time that tokens are lifted.
        h: step size.
        rejected_steps: rejected steps of each sample in this stage so far.
        stepped: whether a step of the method led to this state. False at the start of a stage, and
            where the loop around the method changed the state between two steps.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Hamiltonian
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> latent = Latent(torch.randn(2, 5, 16), pos, periodic)
        >>> states = Hamiltonian(16, depth=2).flow_states(latent)
        >>> [one.stage for one in states], states[-1].state.shape
        ([0, 0, 1, 1], torch.Size([2, 5, 16]))
    """

    stage: int
    block: int
    state: Float[Tensor, "b k s"]
    context: Context
    h: Float[Tensor, ""]
    rejected_steps: Float[Tensor, "b"]
    stepped: bool


class ObservedIntegrator(nn.Module):
    """An integrator that passes all states which it is given or returns to a function.

    It takes the place of a block's method, so that the loop which predicts is the one observed.

    Args:
        block: the block whose method is observed.
        index: its number in the stack.
        stages: numbers of the stages, shared by all blocks of a stack.
        record: called with each state.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Hamiltonian
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> flow, states = Hamiltonian(16, depth=2), []
        >>> with observed(flow.blocks, states.append):
        ...     _ = flow(Latent(torch.randn(2, 5, 16), pos, periodic))
        >>> [state.stage for state in states]
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        block: FlowBlock,
        index: int,
        stages: Iterator[int],
        record: Callable[[FlowState], None],
    ):
        super().__init__()
        self.method = block.integrator
        self.index = index
        self.step_size = block.h
        self.stages = stages
        self.record = record
        self.stage = 0
        self.last: Tensor | None = None

    def init(self, field: VectorField, z: Tensor, context: Context) -> Any:
        """The carry of the observed method; a new stage starts at ``z``."""
        self.stage = next(self.stages)
        carry = self.method.init(field, z, context)
        self._pass(z, context, self.step_size(), carry, stepped=False)
        return carry

    def step(
        self,
        field: VectorField,
        t: float | Tensor,
        dt: Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """State and carry of the observed method after one step of size ``dt``."""
        if z is not self.last:
            self._pass(z, context, dt, carry, stepped=False)
        z, carry = self.method.step(field, t, dt, z, context, carry)
        self._pass(z, context, dt, carry, stepped=True)
        return z, carry

    def _pass(self, z: Tensor, context: Context, h: Tensor, carry: Any, *, stepped: bool) -> None:
        rejected = self.method.rejected_steps(carry, z)
        self.last = z
        self.record(FlowState(self.stage, self.index, z, context, h, rejected, stepped))


@contextmanager
def observed(blocks: Sequence[FlowBlock], record: Callable[[FlowState], None]) -> Iterator[None]:
    """While the context is open, call ``record`` with every state that the blocks pass through.

    Each run of a block is a stage: its state at the start, then the state after each step.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Hamiltonian
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> flow, states = Hamiltonian(16, depth=2), []
        >>> with observed(flow.blocks, states.append):
        ...     out = flow(Latent(torch.randn(2, 5, 16), pos, periodic))
        >>> [state.stage for state in states]
        [0, 0, 1, 1]
    """
    methods = [block.integrator for block in blocks]
    stages = itertools.count()
    try:
        for i, block in enumerate(blocks):
            block.integrator = cast(Integrator, ObservedIntegrator(block, i, stages, record))
        yield
    finally:
        for block, method in zip(blocks, methods, strict=True):
            block.integrator = method


class FlowTrace(NamedTuple):
    """Diagnostics at every step of a flow, in double precision.

    Args:
        stage: number of the run of a block, for each step.
        h: step sizes.
        energy: energy of the field, ½|z|² for fields without one.
        rejected_steps: rejected steps in the stage so far.
        entropy: for fields that have one, else None.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Hamiltonian
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> latent = Latent(torch.randn(2, 5, 16), pos, periodic)
        >>> trace = Hamiltonian(16, depth=2).trace(latent)
        >>> trace.stage, trace.energy.shape
        ([0, 0, 1, 1], torch.Size([4, 2]))
    """

    stage: list[int]
    h: Float[Tensor, "s"]
    energy: Float[Tensor, "s b"]
    rejected_steps: Float[Tensor, "s b"]
    entropy: Float[Tensor, "s b"] | None

    def summary(self) -> dict[str, float]:
        """The trace as a few numbers for a log.

        ``energy`` and ``energy_end``: at both ends of the flow, mean over samples.
        ``energy_drift``: the largest change since the start of a stage, and ``energy_rise``: the
        largest rise from one step to the next, both over the stage's mean |E| at its start.
        ``rejected_steps``: their sum. ``step_min`` and ``step_max``: step sizes. ``entropy_gain``:
        of the sample that gains least, where there is an entropy.
        """
        size = len(self.stage)
        start = self.energy[torch.tensor([self.stage.index(s) for s in self.stage])]
        scale = start.abs().mean(1, keepdim=True)
        within = [i for i in range(1, size) if self.stage[i] == self.stage[i - 1]]
        ends = [i for i in range(size) if i + 1 == size or self.stage[i + 1] != self.stage[i]]
        drift = ((self.energy - start) / scale).abs()
        rise = (self.energy.diff(dim=0) / scale[1:])[torch.tensor(within) - 1]
        numbers = {
            "energy": self.energy[0].mean(),
            "energy_end": self.energy[-1].mean(),
            "energy_drift": drift.amax(),
            "energy_rise": rise.amax().clamp(min=0),
            "rejected_steps": self.rejected_steps[torch.tensor(ends)].sum(),
            "step_min": self.h.amin(),
            "step_max": self.h.amax(),
        }
        if self.entropy is not None:
            numbers["entropy_gain"] = (self.entropy[-1] - self.entropy[0]).amin()
        return {name: float(value) for name, value in numbers.items()}
