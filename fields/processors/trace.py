"""Diagnostics of a flow: the states along the way, and energies computed from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context
from fields.processors.block import FlowBlock


class FlowState(NamedTuple):
    """One state of a flow, with what is needed to evaluate its law.

    Args:
        stage: number of the run of a block; a law compares states of one stage.
        block: the block that is running.
        state: the lifted state.
        context: what the field reads.
        h: step size.
        rejected_steps: rejected steps of each sample in this stage so far.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Hamiltonian
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> latent = Latent(torch.randn(2, 5, 16), pos, periodic)
        >>> states = list(Hamiltonian(16, depth=2).flow_states(latent))
        >>> [one.stage for one in states], states[-1].state.shape
        ([0, 0, 1, 1], torch.Size([2, 5, 16]))
    """

    stage: int
    block: FlowBlock
    state: Float[Tensor, "b k s"]
    context: Context
    h: Float[Tensor, ""]
    rejected_steps: Float[Tensor, "b"]


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
