"""Verification of laws: the path that predicts, observed, with energies computed by other code."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Latent, Sample
from fields.decoders.base import Decoder
from fields.decoders.galerkin import Galerkin
from fields.dynamics.base import Invariant
from fields.dynamics.reference import has_reference
from fields.evaluation.certificate import Certificate as Certificate
from fields.evaluation.certificate import LawFinding, find_verdict
from fields.evaluation.law_monitor import LawMonitor, starts_anew_in_blocks
from fields.flows.isometry import Isometry
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.propagators import LatentFlow
from fields.models.static import FieldOperator
from fields.nn.rotation import Reaction
from fields.processors.base import Processor
from fields.processors.stack import Stack

QUERIES = 4  # points at which a model decodes while its tokens are observed

# A rollout in one precision, whose states the monitor receives.
Rollout = Callable[[torch.dtype], LawMonitor]


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

    The tokens go through ``forward`` in depth and in time, by the same code as in a prediction. The
    energies are computed by :mod:`fields.evaluation.reference_energies`, whose code shares only the
    weights with the steps.

    Args:
        processor: any processor; only stacks of flows claim a law.
        latent: tokens of real samples, as the encoder returns them.
        cond: their conditioning.
        steps: smallest number of steps in time.
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
    if not isinstance(processor, Stack) or not claims_law(processor):
        return _without_law(processor, len(latent.z))
    shown = _basis(decoder, latent)

    def roll(dtype: torch.dtype) -> LawMonitor:
        runner, monitor = _observers(processor, dtype, shown)
        tokens = latent._replace(z=latent.z.to(dtype), pos=latent.pos.to(dtype))
        given = None if cond is None else cond.to(dtype)
        with monitor.watching(runner):
            monitor.read(runner(tokens, given).z)
            _roll_in_time(runner, tokens, given, steps, monitor)
        return monitor

    return _certificate(processor, len(latent.z), roll, decoded=shown is not None)


@torch.no_grad()
def certify(model: Operator, given: Sample, *, steps: int = 1000, frames: int = 0) -> Certificate:
    """`verify` for a whole model, whose own prediction is rolled out and observed.

    Models of evolution problems predict frames, as many as needed, through their propagator. Maps
    without time predict once, and their processor then goes on as a flow in time. The L² energy of
    the decoded field is verified where processor and decoder preserve it.

    Args:
        model: a model with latent tokens.
        given: input samples.
        steps: smallest number of steps of the flow.
        frames: smallest number of frames of an evolution problem.

    Raises:
        ValueError: the model has no latent tokens.
    """
    if not isinstance(model, FieldOperator | EvolutionOperator):
        raise ValueError(
            f"{type(model).__name__} has no latent tokens. "
            "Give a checkpoint of a conditional neural field."
        )
    processor = model.processor
    if not isinstance(processor, Stack) or not claims_law(processor):
        return _without_law(processor, len(given.u))
    decoder = model.decoder if has_physical_energy(processor, model.decoder) else None
    latent, _ = model.encode(given.x, given.u, given.x_mask, given.params)
    shown = _basis(decoder, latent)
    evolves = isinstance(model, EvolutionOperator)
    frames = max(frames, _frames_of(model, steps)) if evolves else 0

    def roll(dtype: torch.dtype) -> LawMonitor:
        runner = copy.deepcopy(model).to(dtype).eval()
        batch = _few_queries(given, dtype)
        flow = cast(Stack, runner.processor)
        monitor = LawMonitor(copy.deepcopy(processor).double().eval(), dtype, shown)
        hook = runner.decoder.register_forward_pre_hook(lambda _, args: monitor.read(args[0].z))
        with monitor.watching(flow):
            if isinstance(runner, EvolutionOperator):
                times = runner.dt * torch.arange(1, frames + 1, dtype=dtype)
                for _ in runner.rollout(batch._replace(t=times[None]), frames=1):
                    pass
            else:
                runner.evaluate(batch, math.inf)
                hook.remove()
                tokens, cond = runner.encode(batch.x, batch.u, batch.x_mask, batch.params)
                _roll_in_time(flow, tokens, cond, steps, monitor)
        return monitor

    within_frames = evolves and not isinstance(model.propagator, LatentFlow)
    return _certificate(
        processor,
        len(given.u),
        roll,
        decoded=shown is not None,
        frames=frames,
        within_frames=within_frames,
    )


def claims_law(processor: Stack) -> bool:
    """Whether a law is claimed at every step and step size."""
    return processor.law not in (Invariant.NONE, Invariant.SYMPLECTIC)


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


def _without_law(processor: Processor, samples: int) -> Certificate:
    law = processor.law if isinstance(processor, Stack) else Invariant.NONE
    name = type(processor).__name__
    verdict = "no exact law is claimed"
    return Certificate(name, law.value, "nothing to verify", samples, 0, [], verdict)


def _certificate(
    processor: Stack,
    samples: int,
    roll: Rollout,
    *,
    decoded: bool,
    frames: int = 0,
    within_frames: bool = False,
) -> Certificate:
    monitors = [roll(dtype) for dtype in (torch.float64, torch.float32)]
    findings: list[LawFinding] = [monitor.finding() for monitor in monitors]
    field_law = "the L2 energy of the decoded field is constant"
    return Certificate(
        type(processor).__name__,
        field_law if decoded else processor.law.value,
        _reach(processor, within_frames),
        samples,
        monitors[0].steps,
        findings,
        find_verdict(findings),
        all(has_reference(block.field) for block in processor.blocks),
        frames,
    )


def _reach(processor: Stack, within_frames: bool) -> str:
    """Over which part of a prediction the law extends."""
    if processor.law is Invariant.MAXIMUM and any(
        isinstance(block.react, Reaction) for block in processor.blocks
    ):
        return "within each diffusion; the reactions between them have no law"
    if starts_anew_in_blocks(processor) and len(processor.blocks) > 1:
        return "within each block"
    return "within each frame" if within_frames else "through the whole stack"


def _basis(decoder: Decoder | None, latent: Latent) -> tuple[Tensor, Tensor] | None:
    """The basis of a linear decoder on a grid, and its matrix W."""
    if not isinstance(decoder, Galerkin):
        return None
    double = latent._replace(z=latent.z.double(), pos=latent.pos.double())
    return decoder.on_grid(double), decoder.value.weight.double()


def _observers(
    processor: Stack, dtype: torch.dtype, shown: tuple[Tensor, Tensor] | None
) -> tuple[Stack, LawMonitor]:
    """A copy of the processor that runs, and a monitor of its law."""
    runner = copy.deepcopy(processor).to(dtype).eval()
    return runner, LawMonitor(copy.deepcopy(processor).double().eval(), dtype, shown)


def _steps_of(processor: Stack) -> int:
    """Steps of one pass in time."""
    repeated = processor.blocks[-1:] if processor.owns_energy else processor.blocks
    return sum(block.steps for block in repeated)


def _frames_of(model: EvolutionOperator, steps: int) -> int:
    """Frames that take at least this number of steps."""
    flow = cast(Stack, model.processor)
    each = sum(block.steps for block in flow.blocks)
    if isinstance(model.propagator, LatentFlow):
        each = _steps_of(flow) * max(1, math.ceil(1 / flow.dt))
    return math.ceil(steps / each)


def _roll_in_time(
    processor: Stack, latent: Latent, cond: Tensor | None, steps: int, monitor: LawMonitor
) -> None:
    """The flow in time, in whole passes after a half one, read at the end of each."""
    passes = math.ceil(steps / _steps_of(processor))
    times = [0.5, *range(1, passes + 1)]
    for code in processor.at(latent, cond, [processor.dt * time for time in times]):
        monitor.read(code.z)


def _few_queries(given: Sample, dtype: torch.dtype) -> Sample:
    """The samples in one precision, asked at a few of their own points."""
    few = given._replace(y=given.x[:, :QUERIES], y_mask=given.x_mask[:, :QUERIES])
    return Sample(*(part.to(dtype) if part.is_floating_point() else part for part in few))
