"""Comparison of every state that a processor passes through with the law that it claims."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Invariant
from fields.dynamics.reference import half_square, reference_energy
from fields.evaluation import reference_energies as reference_energies  # registers the energies
from fields.evaluation.certificate import LawFinding
from fields.nn.rotation import Reaction
from fields.processors.stack import Stack
from fields.processors.trace import FlowState, observed

# Largest violation over the whole run, relative to the size of the energy.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass(frozen=True)
class LawReading:
    """The quantities that laws involve, of each sample at one state.

    Args:
        energy: E by independent code, or the energy of the decoded field.
        scale: size of the terms of E, in which a change is measured.
        entropy: S, zero where the law involves none.
        low: smallest value of each channel.
        high: largest value of each channel.

    Example:
        >>> z = torch.zeros(2)
        >>> LawReading(z, z + 1, z, low=torch.zeros(2, 4), high=torch.ones(2, 4)).high.shape
        torch.Size([2, 4])
    """

    energy: Float[Tensor, "b"]
    scale: Float[Tensor, "b"]
    entropy: Float[Tensor, "b"]
    low: Float[Tensor, "b c"]
    high: Float[Tensor, "b c"]


class LawMonitor:
    """Called with every state of a rollout, keeps the largest violation of the processor's law.

    Compared are: the law from state to state; |x| across the maps between blocks whose energies
    differ; and |z| of the last state with that of the tokens that a block maps or that are
    returned. The loop that predicts can therefore not change the energy without being noticed.

    Args:
        exact: the processor in double precision, which is read for the energies.
        dtype: precision of the rollout.
        shown: for the energy of a decoded field, the decoder's basis on a grid and its matrix W.

    Example:
        >>> from fields.core.sample import Latent
        >>> from fields.flows import Isometry
        >>> flow = Isometry(8).double()
        >>> monitor = LawMonitor(flow, torch.float64)
        >>> z, pos = torch.randn(2, 5, 8).double(), torch.rand(1, 5, 2).double()
        >>> with monitor.watching(flow):
        ...     monitor.read(flow(Latent(z, pos, torch.tensor([True, False]))).z)
        >>> monitor.finding().holds
        True
    """

    def __init__(
        self, exact: Stack, dtype: torch.dtype, shown: tuple[Tensor, Tensor] | None = None
    ):
        self.exact = exact
        self.dtype = dtype
        self.shown = shown
        self.by_stage = starts_anew_in_blocks(exact)
        self.reacts = any(isinstance(block.react, Reaction) for block in exact.blocks)
        self.steps = 0
        self.violation = 0.0
        self.worst_step = 0
        self.moved = 0.0
        self.grown = 1.0
        self._taken = 0
        self._rejected = 0
        self._size: Tensor | None = None
        self._first: Tensor | None = None
        self._last: FlowState | None = None
        self._start: LawReading | None = None
        self._before: LawReading | None = None

    @contextmanager
    def watching(self, runner: Stack) -> Iterator[None]:
        """While the context is open, all that ``runner`` computes is compared with its law."""
        reactions = [block.react for block in runner.blocks if block.react is not None]
        hooks = [
            react.register_forward_pre_hook(lambda _, args: self._compare_tokens(args[0]))
            for react in reactions
        ]
        try:
            with observed(runner.blocks, self):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def __call__(self, current: FlowState) -> None:
        """Compare the state with those before it; see the class."""
        now = self._reading(current)
        last = self._last
        first = self._first
        lifted = last is None or current.context is not last.context
        new_stage = last is None or current.stage != last.stage
        if lifted:
            self._first = first = current.state
        elif last is not None and new_stage and self.by_stage and not self.reacts:
            self._compare_norms(last.state, current.state)
        if lifted or (new_stage and self.by_stage):
            self._start = self._before = now
        rejected = 0
        if last is not None and not new_stage:
            rejected = int((current.rejected_steps - last.rejected_steps).sum())
        self._rejected += rejected
        if current.stepped:
            self.steps += 1
            self._taken += len(current.state)
        assert self._start is not None and self._before is not None and first is not None
        self._judge(law_violation(self.exact.law, self._start, self._before, now))
        self._measure_motion(current.state, first)
        self._last = current
        self._before = now

    @torch.no_grad()
    def read(self, z: Float[Tensor, "b k h"]) -> None:
        """Compare the norm of tokens that the processor returned with that of its last state."""
        if not self.reacts:
            self._compare_tokens(z)

    def finding(self) -> LawFinding:
        """What was measured so far."""
        tolerance = TOLERANCE[self.dtype]
        return LawFinding(
            dtype=str(self.dtype).removeprefix("torch."),
            violation=self.violation,
            tolerance=tolerance,
            worst_step=self.worst_step,
            rejected_steps=self._rejected,
            moved=self.moved,
            holds=self.violation <= tolerance,
            taken_steps=self._taken,
            grown=self.grown,
        )

    def _reading(self, current: FlowState) -> LawReading:
        field = self.exact.blocks[current.block].field
        state = current.state.double()
        energy, scale, entropy = reference_energy(field, state, current.context.double())
        if self.shown is not None:
            basis, weight = self.shown
            energy = scale = (basis @ (state @ weight.mT)).square().sum(-1).mean(-1) / 2
        return LawReading(energy, scale, entropy, state.amin(1), state.amax(1))

    def _compare_tokens(self, z: Tensor) -> None:
        if self._last is not None:
            field = self.exact.blocks[self._last.block].field
            self._compare_norms(field.project(self._last.state), z)

    def _compare_norms(self, before: Tensor, now: Tensor) -> None:
        old = half_square(before.double())
        new = half_square(now.double())
        size = torch.maximum(old, new) + torch.finfo(old.dtype).tiny
        self._judge(float(((new - old).abs() / size).amax()))

    def _judge(self, violation: float) -> None:
        violation = math.inf if math.isnan(violation) else violation
        if violation > self.violation:
            self.violation = violation
            self.worst_step = self.steps

    def _measure_motion(self, state: Tensor, first: Tensor) -> None:
        size = first.double().norm()
        self._size = size if self._size is None else self._size
        floor = torch.finfo(size.dtype).tiny
        moved = float((state.double() - first.double()).norm() / (size + floor))
        grown = float(state.double().norm() / (self._size + floor))
        self.moved = max(self.moved, moved)  # nan is not larger
        self.grown = max(self.grown, grown if math.isfinite(grown) else math.inf)


def starts_anew_in_blocks(processor: Stack) -> bool:
    """Whether each block starts a new law: learned energies, and diffusion between reactions."""
    return processor.owns_energy or (
        processor.law is Invariant.MAXIMUM and any(b.react is not None for b in processor.blocks)
    )


def law_violation(law: Invariant, start: LawReading, before: LawReading, now: LawReading) -> float:
    """How far a state violates the law, since the start of the law or since the state before.

    Changes of the energy are relative to the larger size of its terms at the start and now, so that
    a start at rest has a scale too; excursions from the range are relative to the values.
    """
    tiny = torch.finfo(now.energy.dtype).tiny
    scale = torch.maximum(start.scale, now.scale) + tiny
    drift = ((now.energy - start.energy).abs() / scale).amax()
    rise = ((now.energy - before.energy) / scale).amax()
    loss = ((before.entropy - now.entropy) / (1 + before.entropy.abs())).amax()
    values = torch.maximum(start.high.abs(), start.low.abs()).amax() + tiny
    outside = torch.maximum(now.high - before.high, before.low - now.low).amax() / values
    violation = {
        Invariant.ENERGY: drift,
        Invariant.DECAY: rise.clamp(min=0),
        Invariant.METRIPLECTIC: torch.maximum(drift, loss).clamp(min=0),
        Invariant.MAXIMUM: outside.clamp(min=0),
    }[law]
    return float(violation)
