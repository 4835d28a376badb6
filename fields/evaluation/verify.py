"""Verification of laws: long rollouts of a processor, with energies computed by other code."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Latent, Sample
from fields.decoders.base import Decoder
from fields.decoders.galerkin import Galerkin
from fields.dynamics.base import Invariant
from fields.dynamics.reference import has_reference, reference_energy
from fields.evaluation import reference_energies as reference_energies  # registers the energies
from fields.flows.isometry import Isometry
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.static import FieldOperator
from fields.processors.base import Processor
from fields.processors.stack import Stack
from fields.processors.trace import FlowState

# Largest violation over the whole run, relative to the scale of the energy.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

# Smallest relative change of the state: a law of a state that does not move shows nothing.
MOVED = 1e-3


@dataclass(frozen=True)
class LawFinding:
    """The result in one precision.

    Args:
        dtype: precision of the rollout.
        violation: largest violation of the law, relative to the energy or range at the start.
        tolerance: largest violation that is rounding.
        worst_step: step of the largest violation.
        rejected_steps: steps that were cut or refused.
        moved: relative change of the state between start and end.
        holds: whether the violation is within the tolerance.
    """

    dtype: str
    violation: float
    tolerance: float
    worst_step: int
    rejected_steps: int
    moved: float
    holds: bool


@dataclass(frozen=True)
class Certificate:
    """The claimed law, the measurements, and the verdict.

    Args:
        processor: class of the processor.
        law: the claimed law.
        reach: whether it holds through the stack or within each block.
        samples: number of samples.
        steps: number of steps.
        findings: measurements in float64 and float32.
        verdict: "holds", "BROKEN", or why nothing is shown.
        independent: whether the energies were computed by code other than the field's own.
    """

    processor: str
    law: str
    reach: str
    samples: int
    steps: int
    findings: list[LawFinding]
    verdict: str
    independent: bool = True

    @property
    def passed(self) -> bool:
        """Whether a law is claimed and holds in both precisions."""
        return self.verdict == "holds"

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.processor}: {self.law} ({self.reach}); {self.samples} samples, "
            f"{self.steps} steps"
        ]
        for f in self.findings:
            mark = "holds" if f.holds else "BROKEN"
            lines.append(
                f"  {f.dtype}: largest violation {f.violation:.1e} (allowed {f.tolerance:.0e}) "
                f"at step {f.worst_step}, {f.rejected_steps} rejected steps, "
                f"state moved by {f.moved:.2g}: {mark}"
            )
        if not self.independent:
            lines.append(
                "  The energy was computed by the field's own code. Register independent code with "
                "`fields.dynamics.reference.reference_energy`."
            )
        return "\n".join([*lines, f"verdict: {self.verdict}"])


@torch.no_grad()
def verify(
    processor: Processor,
    latent: Latent,
    cond: Float[Tensor, "b h"] | None = None,
    *,
    steps: int = 1000,
    decoder: Decoder | None = None,
) -> Certificate:
    """Rolls out samples in float64 and float32 and compares every step with the claimed law.

    The energies are computed by :mod:`fields.evaluation.reference_energies`, whose code shares
    only the weights with the steps.

    Args:
        processor: any processor; only stacks of flows claim a law.
        latent: tokens of real samples, as the encoder returns them.
        cond: their conditioning.
        steps: smallest number of steps.
        decoder: verify the L² energy of the decoded field instead of the energy of the tokens.

    Raises:
        ValueError: a decoder that is not linear and orthonormal, or a processor that does not
            preserve every quadratic form of channels, so that the field has no conserved energy.

    Example:
        >>> from fields.flows import Isometry
        >>> latent = Latent(torch.randn(2, 5, 8), torch.rand(1, 5, 2), torch.tensor([True, False]))
        >>> verify(Isometry(8), latent, steps=8).verdict
        'holds'
    """
    if decoder is not None and not has_physical_energy(processor, decoder):
        raise ValueError(_no_physical_energy(processor, decoder))
    name = type(processor).__name__
    if not isinstance(processor, Stack) or processor.law in (Invariant.NONE, Invariant.SYMPLECTIC):
        law = processor.law.value if isinstance(processor, Stack) else Invariant.NONE.value
        return Certificate(
            name, law, "nothing to verify", len(latent.z), 0, [], "no exact law is claimed"
        )
    repeated = processor.blocks[-1:] if processor.owns_energy else processor.blocks
    per_pass = sum(block.steps for block in repeated)
    passes = -(-steps // per_pass)
    findings = [
        _measure(processor, latent, cond, passes, dtype, decoder)
        for dtype in (torch.float64, torch.float32)
    ]
    if not all(f.moved > MOVED for f in findings):
        verdict = "the state does not move: nothing is shown"
    else:
        verdict = "holds" if all(f.holds for f in findings) else "BROKEN"
    by_block = _by_stage(processor) and len(processor.blocks) > 1
    reach = "within each block" if by_block else "through the whole stack"
    field_law = "the L2 energy of the decoded field is constant"
    law = processor.law.value if decoder is None else field_law
    steps = passes * per_pass
    independent = all(has_reference(block.field) for block in processor.blocks)
    return Certificate(name, law, reach, len(latent.z), steps, findings, verdict, independent)


@torch.no_grad()
def certify(model: Operator, given: Sample, *, steps: int = 1000) -> Certificate:
    """`verify` for the codes of a whole model.

    The L² energy of the decoded field is verified where processor and decoder preserve it.

    Args:
        model: a model with latent tokens.
        given: input samples.
        steps: smallest number of steps.

    Raises:
        ValueError: the model has no latent tokens.
    """
    if not isinstance(model, FieldOperator | EvolutionOperator):
        raise ValueError(
            f"{type(model).__name__} has no latent tokens. "
            "Give a checkpoint of a conditional neural field."
        )
    latent, cond = model.encode(given.x, given.u, given.x_mask, given.params)
    shown = model.decoder if has_physical_energy(model.processor, model.decoder) else None
    return verify(model.processor, latent, cond, steps=steps, decoder=shown)


def _by_stage(processor: Stack) -> bool:
    """Whether each block starts a new law: learned energies, and diffusion between reactions."""
    return processor.owns_energy or (
        processor.law is Invariant.MAXIMUM and any(b.react is not None for b in processor.blocks)
    )


def has_physical_energy(processor: Processor, decoder: Decoder) -> bool:
    """Whether an energy of the tokens is one of the decoded field.

    It is where the decoder is linear and orthonormal and the processor preserves zᵀz.
    """
    return isinstance(decoder, Galerkin) and isinstance(processor, Isometry)


def _no_physical_energy(processor: Processor, decoder: Decoder) -> str:
    if not isinstance(decoder, Galerkin):
        return (
            f"`{type(decoder).__name__}` does not make its field from the tokens by an orthonormal "
            "linear map, so no energy of the tokens is the L2 energy of the field. "
            "Use `fields.decoders.Galerkin`, or omit `decoder` to verify the tokens."
        )
    return (
        f"`{type(processor).__name__}` passes energy between components of the tokens that "
        "`Galerkin` decodes and others. "
        "Use `fields.flows.Isometry`, or omit `decoder` to verify the tokens."
    )


def _measure(
    processor: Stack,
    latent: Latent,
    cond: Tensor | None,
    passes: int,
    dtype: torch.dtype,
    decoder: Decoder | None,
) -> LawFinding:
    """One rollout in the given precision, with energies in float64."""
    runner = copy.deepcopy(processor).to(dtype).eval()
    exact = copy.deepcopy(processor).double().eval()
    latent = latent._replace(z=latent.z.to(dtype), pos=latent.pos.to(dtype))
    cond = None if cond is None else cond.to(dtype)
    seen = None
    if isinstance(decoder, Galerkin):
        seen = decoder.on_grid(latent), decoder.value.weight.double()
    states = runner.flow_states(latent, cond, passes=passes)
    first = last = next(states)
    start = before = _reading(exact, first, seen)
    worst, worst_step, step = 0.0, 0, 0
    rejected: dict[int, int] = {}
    for current in states:
        now = _reading(exact, current, seen)
        new_stage = current.stage != last.stage
        if new_stage and _by_stage(processor):
            start = before = now
        step += not new_stage
        rejected[current.stage] = int(current.rejected_steps.sum())
        violation = _violation(processor.law, start, before, now)
        if not violation <= worst:  # also true for nan
            worst, worst_step = violation, step
        last, before = current, now
    tolerance = TOLERANCE[dtype]
    return LawFinding(
        dtype=str(dtype).removeprefix("torch."),
        violation=worst,
        tolerance=tolerance,
        worst_step=worst_step,
        rejected_steps=sum(rejected.values()),
        moved=float((last.state - first.state).norm() / first.state.norm()),
        holds=worst <= tolerance,
    )


@dataclass(frozen=True)
class _Reading:
    """The quantities that laws involve, at one state, and the scale of the energy."""

    energy: Tensor
    scale: Tensor
    entropy: Tensor
    low: Tensor
    high: Tensor


def _reading(exact: Stack, current: FlowState, seen: tuple[Tensor, Tensor] | None) -> _Reading:
    """The reading of one state. ``seen``: the decoder's basis on a grid, and its matrix W."""
    field, state = exact.blocks[current.stage % len(exact.blocks)].field, current.state.double()
    energy, scale, entropy = reference_energy(field, state, current.context.double())
    if seen is not None:
        basis, weight = seen
        energy = scale = (basis @ (state @ weight.mT)).square().sum(-1).mean(-1) / 2
    return _Reading(energy, scale, entropy, state.amin(1), state.amax(1))


def _violation(law: Invariant, start: _Reading, before: _Reading, now: _Reading) -> float:
    """How far the law is violated now, since the start of the stage or since the step before."""
    drift = ((now.energy - start.energy).abs() / start.scale).amax()
    rise = ((now.energy - before.energy) / start.scale).amax()
    loss = ((before.entropy - now.entropy) / (1 + before.entropy.abs())).amax()
    width = (start.high - start.low).amax()
    outside = torch.maximum(now.high - before.high, before.low - now.low).amax() / width
    violation = {
        Invariant.ENERGY: drift,
        Invariant.DECAY: rise.clamp(min=0),
        Invariant.METRIPLECTIC: torch.maximum(drift, loss).clamp(min=0),
        Invariant.MAXIMUM: outside.clamp(min=0),
    }[law]
    return float(violation)
