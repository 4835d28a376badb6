"""What can be watched while tokens flow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context
from fields.processors.block import FlowBlock


class FlowState(NamedTuple):
    """One state on the way through a processor, and what is needed to judge it."""

    stage: int  # the law compares states of one stage
    block: FlowBlock
    state: Float[Tensor, "b k s"]
    context: Context
    h: Float[Tensor, ""]
    rejected_steps: Float[Tensor, "b"]


class FlowTrace(NamedTuple):
    """What can be watched, at every step of the flow, in double precision."""

    stage: list[int]
    h: Float[Tensor, "s"]
    energy: Float[Tensor, "s b"]  # of the field; ½|z|² for fields without one
    rejected_steps: Float[Tensor, "s b"]  # steps refused so far in the stage
    entropy: Float[Tensor, "s b"] | None  # of fields that have one

    def summary(self) -> dict[str, float]:
        """The whole in few numbers, for a log.

        energy, energy_end: at both ends of the flow, mean over the samples; energy_drift,
        energy_rise: the largest change since the start of a stage and the largest rise from one
        step to the next, over the stage's mean |E| at its start; rejected_steps: refused steps;
        step_min, step_max: step sizes; entropy_gain: of the sample that gains least, where there is
        an entropy.
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
