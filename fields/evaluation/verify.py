"""Does a processor, with the weights it has, obey the law it claims? Measured far past training, by other code."""

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
from fields.evaluation.reference_energies import reference_energy
from fields.flows.isometry import Isometry
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.static import FieldOperator
from fields.processors.base import Processor
from fields.processors.stack import Stack
from fields.processors.trace import FlowState

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the scale, over the whole run

MOVED = 1e-3  # a state that hardly moves proves nothing


@dataclass(frozen=True)
class LawFinding:
    """One precision: the largest violation of the law, relative to the energy or range at the start, and where it was."""

    dtype: str
    violation: float
    tolerance: float
    worst_step: int
    rejected_steps: int
    moved: float
    holds: bool


@dataclass(frozen=True)
class Certificate:
    """What was claimed, what was measured, and the verdict."""

    processor: str
    law: str
    reach: str
    samples: int
    steps: int
    findings: list[LawFinding]
    verdict: str

    @property
    def passed(self) -> bool:
        """Whether a law was claimed and holds in every precision."""
        return self.verdict == "holds"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.processor}: {self.law} ({self.reach}); {self.samples} samples, {self.steps} steps"
        ]
        for f in self.findings:
            mark = "holds" if f.holds else "BROKEN"
            lines.append(
                f"  {f.dtype}: largest violation {f.violation:.1e} (allowed {f.tolerance:.0e}) at step {f.worst_step}, "
                f"{f.rejected_steps} rejected_steps, state moved by {f.moved:.2g}: {mark}"
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
    """Rolls encoded samples for at least ``steps`` steps, in double and in single precision, and judges every one.

    The energies are computed here, by code that shares nothing with the step but the weights.

    Args:
        processor: any processor; only those made of flows claim a law.
        latent: tokens of real samples, as the encoder gives them.
        cond: their conditioning.
        steps: how far.
        decoder: judge the L2 energy of the field that it decodes instead of the energy of the
            tokens. Refused unless the field is linear in the tokens with an orthonormal basis, and
            the processor keeps every quadratic form of channels.
    """
    if decoder is not None and not has_physical_energy(processor, decoder):
        raise ValueError(_no_physical_energy(processor, decoder))
    name = type(processor).__name__
    if not isinstance(processor, Stack) or processor.law in (Invariant.NONE, Invariant.SYMPLECTIC):
        law = processor.law.value if isinstance(processor, Stack) else Invariant.NONE.value
        return Certificate(
            name, law, "nothing to verify", len(latent.z), 0, [], "no exact law is claimed"
        )
    per_pass = (
        processor.blocks[-1].steps
        if processor.owns_energy
        else sum(b.steps for b in processor.blocks)
    )
    passes = -(-steps // per_pass)
    findings = [
        _measure(processor, latent, cond, passes, dtype, decoder)
        for dtype in (torch.float64, torch.float32)
    ]
    if not all(f.moved > MOVED for f in findings):
        verdict = "the state does not move: nothing is shown"
    else:
        verdict = "holds" if all(f.holds for f in findings) else "BROKEN"
    reach = (
        "within each block"
        if _by_stage(processor) and len(processor.blocks) > 1
        else "through the whole stack"
    )
    law = (
        processor.law.value if decoder is None else "the L2 energy of the decoded field is constant"
    )
    return Certificate(name, law, reach, len(latent.z), passes * per_pass, findings, verdict)


@torch.no_grad()
def certify(model: Operator, given: Sample, *, steps: int = 1000) -> Certificate:
    """`verify` for the codes that a whole model makes of these inputs, as the L2 energy of the field where the decoder shows it.

    Raises:
        ValueError: the model has no latent tokens.
    """
    if not isinstance(model, FieldOperator | EvolutionOperator):
        raise ValueError(
            f"{type(model).__name__} has no latent tokens. Give a checkpoint of a conditional neural field."
        )
    latent, cond = model.encode(given.x, given.u, given.x_mask, given.params)
    shown = model.decoder if has_physical_energy(model.processor, model.decoder) else None
    return verify(model.processor, latent, cond, steps=steps, decoder=shown)


def _by_stage(processor: Stack) -> bool:
    """Whether the law starts anew in each block: learned energies, and diffusion between reactions."""
    return processor.owns_energy or (
        processor.law is Invariant.MAXIMUM and any(b.react is not None for b in processor.blocks)
    )


def has_physical_energy(processor: Processor, decoder: Decoder) -> bool:
    """Whether the law of the tokens is one of the field: the decoder is orthonormal, the processor treats channels alike."""
    return isinstance(decoder, Galerkin) and isinstance(processor, Isometry)


def _no_physical_energy(processor: Processor, decoder: Decoder) -> str:
    if not isinstance(decoder, Galerkin):
        return (
            f"`{type(decoder).__name__}` does not make its field from the tokens by an orthonormal linear map, so no energy of "
            "the tokens is the L2 energy of the field. Use `fields.decoders.Galerkin`, or verify the tokens alone."
        )
    return (
        f"`{type(processor).__name__}` passes energy between what `Galerkin` shows of the tokens and what it does not. "
        "Use `fields.flows.Isometry`, or verify the tokens alone."
    )


def _measure(
    processor: Stack,
    latent: Latent,
    cond: Tensor | None,
    passes: int,
    dtype: torch.dtype,
    decoder: Decoder | None,
) -> LawFinding:
    runner, exact = (
        copy.deepcopy(processor).to(dtype).eval(),
        copy.deepcopy(processor).double().eval(),
    )
    latent = latent._replace(z=latent.z.to(dtype), pos=latent.pos.to(dtype))
    cond = None if cond is None else cond.to(dtype)
    seen = (
        (decoder.on_grid(latent), decoder.value.weight.double())
        if isinstance(decoder, Galerkin)
        else None
    )
    moments = runner.moments(latent, cond, passes=passes)
    first = last = next(moments)
    start = before = _reading(exact, first, seen)
    worst, worst_step, step, refused = 0.0, 0, 0, {}
    for moment in moments:
        now = _reading(exact, moment, seen)
        fresh = moment.stage != last.stage
        if fresh and _by_stage(processor):
            start = before = now
        step += not fresh
        refused[moment.stage] = int(moment.rejected_steps.sum())
        violation = _violation(processor.law, start, before, now)
        if not violation <= worst:  # also true for nan
            worst, worst_step = violation, step
        last, before = moment, now
    moved = float((last.state - first.state).norm() / first.state.norm())
    tolerance = TOLERANCE[dtype]
    name = str(dtype).removeprefix("torch.")
    return LawFinding(
        name, worst, tolerance, worst_step, sum(refused.values()), moved, worst <= tolerance
    )


@dataclass(frozen=True)
class _Reading:
    """What the laws speak of, at one state, and the scale they are measured in."""

    energy: Tensor
    scale: Tensor
    entropy: Tensor
    low: Tensor
    high: Tensor


def _reading(exact: Stack, moment: FlowState, seen: tuple[Tensor, Tensor] | None) -> _Reading:
    field, state = exact.blocks[moment.stage % len(exact.blocks)].field, moment.state.double()
    energy, scale, entropy = reference_energy(field, state, moment.context.double())
    if seen is not None:  # basis on a grid over the domain, and the decoder's matrix
        basis, weight = seen
        energy = scale = (basis @ (state @ weight.mT)).square().sum(-1).mean(-1) / 2
    return _Reading(energy, scale, entropy, state.amin(1), state.amax(1))


def _violation(law: Invariant, start: _Reading, before: _Reading, now: _Reading) -> float:
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
