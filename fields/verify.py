"""Does a processor, with the weights it has, obey the law it claims? Measured far past training, by other code."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from functools import singledispatch
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics import AttentionEnergy, CanonicalHamiltonian, Context, DampedHamiltonian, Law, VectorField
from fields.dynamics.base import LawfulField
from fields.dynamics.graph import GraphField, Metriplectic
from fields.nn.geometry import rotate
from fields.processors.base import Processor
from fields.processors.stack import Moment, Stack
from fields.sample import Latent

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the scale, over the whole run
MOVED = 1e-3  # a state that hardly moves proves nothing


@dataclass(frozen=True)
class Finding:
    """One precision: the largest breach of the law, relative to the energy or range at the start, and where it was."""

    dtype: str
    breach: float
    tolerance: float
    worst_step: int
    clamps: int
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
    findings: list[Finding]
    verdict: str

    @property
    def passed(self) -> bool:
        """Whether a law was claimed and holds in every precision."""
        return self.verdict == "holds"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.processor}: {self.law} ({self.reach}); {self.samples} samples, {self.steps} steps"]
        for f in self.findings:
            mark = "holds" if f.holds else "BROKEN"
            lines.append(
                f"  {f.dtype}: largest breach {f.breach:.1e} (allowed {f.tolerance:.0e}) at step {f.worst_step}, "
                f"{f.clamps} refused steps, state moved by {f.moved:.2g}: {mark}"
            )
        return "\n".join([*lines, f"verdict: {self.verdict}"])


@torch.no_grad()
def verify(processor: Processor, latent: Latent, cond: Float[Tensor, "b h"] | None = None, *, steps: int = 1000) -> Certificate:
    """Rolls encoded samples for at least ``steps`` steps, in double and in single precision, and judges every one.

    The energies are computed here, by code that shares nothing with the step but the weights.

    Args:
        processor: any processor; only those made of flows claim a law.
        latent: tokens of real samples, as the encoder gives them.
        cond: their conditioning.
        steps: how far.
    """
    name = type(processor).__name__
    if not isinstance(processor, Stack) or processor.law in (Law.NONE, Law.SYMPLECTIC):
        law = processor.law.value if isinstance(processor, Stack) else Law.NONE.value
        return Certificate(name, law, "nothing to verify", len(latent.z), 0, [], "no exact law is claimed")
    per_pass = processor.blocks[-1].steps if processor.owns_energy else sum(b.steps for b in processor.blocks)
    passes = -(-steps // per_pass)
    findings = [_measure(processor, latent, cond, passes, dtype) for dtype in (torch.float64, torch.float32)]
    if not all(f.moved > MOVED for f in findings):
        verdict = "the state does not move: nothing is shown"
    else:
        verdict = "holds" if all(f.holds for f in findings) else "BROKEN"
    reach = "within each block" if _by_stage(processor) else "through the whole stack"
    return Certificate(name, processor.law.value, reach, len(latent.z), passes * per_pass, findings, verdict)


def _by_stage(processor: Stack) -> bool:
    """Whether the law starts anew in each block: learned energies, and diffusion between reactions."""
    return processor.owns_energy or (processor.law is Law.MAXIMUM and any(b.react is not None for b in processor.blocks))


def _measure(processor: Stack, latent: Latent, cond: Tensor | None, passes: int, dtype: torch.dtype) -> Finding:
    runner, exact = copy.deepcopy(processor).to(dtype).eval(), copy.deepcopy(processor).double().eval()
    latent = latent._replace(z=latent.z.to(dtype), pos=latent.pos.to(dtype))
    cond = None if cond is None else cond.to(dtype)
    by_stage = _by_stage(processor)
    start = before = first = None
    worst, worst_step, refused, stage, step = 0.0, 0, {}, None, -1
    for moment in runner.moments(latent, cond, passes=passes):
        now = _reading(exact.blocks[moment.stage % len(exact.blocks)].field, moment)
        if start is None or (by_stage and moment.stage != stage):
            start = before = now
        first = moment.state if first is None else first
        step += moment.stage == stage
        stage = moment.stage
        refused[stage] = int(moment.clamps.sum())
        breach = _breach(processor.law, start, before, now)
        if not breach <= worst:  # also true for nan
            worst, worst_step = breach, step
        before = now
    moved = float((moment.state - first).norm() / first.norm())
    tolerance = TOLERANCE[dtype]
    name = str(dtype).removeprefix("torch.")
    return Finding(name, worst, tolerance, worst_step, sum(refused.values()), moved, worst <= tolerance)


@dataclass(frozen=True)
class _Reading:
    """What the laws speak of, at one state, and the scale they are measured in."""

    energy: Tensor
    scale: Tensor
    entropy: Tensor
    low: Tensor
    high: Tensor


def _reading(field: VectorField, moment: Moment) -> _Reading:
    state = moment.state.double()
    energy, scale, entropy = witness(field, state, moment.context.double())
    return _Reading(energy, scale, entropy, state.amin(1), state.amax(1))


def _breach(law: Law, start: _Reading, before: _Reading, now: _Reading) -> float:
    drift = ((now.energy - start.energy).abs() / start.scale).amax()
    rise = ((now.energy - before.energy) / start.scale).amax()
    loss = ((before.entropy - now.entropy) / (1 + before.entropy.abs())).amax()
    width = (start.high - start.low).amax()
    outside = torch.maximum(now.high - before.high, before.low - now.low).amax() / width
    breach = {
        Law.ENERGY: drift,
        Law.DECAY: rise.clamp(min=0),
        Law.METRIPLECTIC: torch.maximum(drift, loss).clamp(min=0),
        Law.MAXIMUM: outside.clamp(min=0),
    }[law]
    return float(breach)


@singledispatch
def witness(field: VectorField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Energy, its scale and entropy of each sample. Fields without an energy: ½|z|²."""
    energy = torch.linalg.vector_norm(state.flatten(1), dim=1).square() / 2
    return energy, energy, torch.zeros_like(energy)


@witness.register
def _(field: LawfulField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """A field without a witness of its own is taken at its word for the energy; the step is still judged."""
    energy = field.energy(state, context)
    scale = energy.abs() + torch.linalg.vector_norm(state.flatten(1), dim=1).square() / 2
    return energy, scale, torch.zeros_like(energy)


@witness.register
def _(field: GraphField, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    energy = torch.linalg.vector_norm(state[..., : field.dim].flatten(1), dim=1).square() / 2
    entropy = torch.zeros_like(energy)
    if isinstance(field, Metriplectic):
        heat = state[:, :, -1]
        energy, entropy = energy + heat.sum(1), torch.log(heat).sum(1)
    return energy, energy, entropy


@witness.register
def _(field: CanonicalHamiltonian, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    half = state.shape[-1] // 2
    q, p = state[..., :half], state[..., half:]
    kinetic = torch.einsum("bkc,bkc,c->b", p, p, torch.exp(field.log_inverse_mass)) / 2
    potential = _attention_energy(field.v, q, context) if isinstance(field.v, AttentionEnergy) else field.v(q, context)
    return kinetic + potential, kinetic, torch.zeros_like(kinetic)


@witness.register
def _(field: DampedHamiltonian, state: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    return witness(field.conservative, state, context)


def _attention_energy(v: AttentionEnergy, q: Tensor, context: Context) -> Tensor:
    """V by einsums, head by head, with nothing from the class but its weights."""
    c, width = q.shape[-1], q.shape[-1] // v.heads
    g = v.features.gamma * q / torch.sqrt(1 + torch.einsum("bkc,bkc->bk", q, q) / c)[..., None]
    g = g if context.cond is None else g + context.cond[:, None, :c]
    inner = torch.einsum("bkc,mc->bkm", g, v.patterns) + v.bias
    potential = torch.einsum("bkm,m->b", torch.logaddexp(inner, -inner) - torch.log(inner.new_tensor(2.0)), v.weight)
    for head in range(v.heads):
        rows = slice(head * width, (head + 1) * width)
        query, key = (torch.einsum("bkc,ec->bke", g, w[rows])[:, None] for w in (v.query, v.key))
        if context.pos is not None:
            turn = v.rotary(context.pos, context.periodic)
            query, key = rotate(query, turn), rotate(key, turn)
        score = torch.einsum("bxne,bxme->bnm", query, key) / width**0.5
        if context.distance2 is not None:
            score = score - torch.clamp(context.distance2 / (2 * torch.exp(v.log_length[head]) ** 2), max=40.0)
        potential = potential - v.amplitude[head] * width**0.5 * torch.logsumexp(score, dim=-1).sum(-1)
    return potential + torch.exp(v.log_stiffness) * torch.einsum("bkc,bkc->b", q, q) / 2
