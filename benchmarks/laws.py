"""Largest violation of each method's law over many steps, and observed orders of convergence.

    python -m benchmarks.laws [--steps 1000] [--only Cayley EnergyProjectedVerlet] [--trained]

Random weights, 3 samples of 12 tokens and 16 channels; attention is recomputed at every step.
Prints the Markdown tables of docs/guarantees.md: the largest violation over all steps in double and
in single precision, and the observed orders. ``--trained`` adds the certificates of
`fields.evaluation.verify` for every processor with a law after a short training in bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fields import processors
from fields.core.sample import Latent
from fields.dynamics.base import Context, Invariant, VectorField
from fields.evaluation.reference_energies import reference_energy
from fields.evaluation.verify import verify
from fields.flows.associative import HopfieldField, HopfieldUpdate
from fields.flows.damped_hamiltonian import DampedHamiltonianField, EnergyGuardedStep
from fields.flows.double_bracket import CoupledBracket, DoubleBracketField, SplitBracket
from fields.flows.grand import (
    ExplicitDiffusion,
    ImplicitDiffusion,
    SymmetricGrandField,
    Uniformization,
)
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.isometry import SkewAttentionField, SkewCayley
from fields.flows.metric_hamiltonian import MetricHamiltonianField
from fields.flows.metriplectic import MetriplecticField, MetriplecticStep
from fields.flows.sphere_transformer import SphereExponential, SphereTransformerField
from fields.integrators.base import Integrator
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog
from fields.integrators.explicit import RK4, Euler, Heun
from fields.integrators.verlet import EnergyProjectedVerlet, Verlet
from fields.processors.attention_ode import AttentionField

DIM = 16
TOKENS = 12
SAMPLES = 3
TRAINED = (
    "GraphHamiltonian",
    "Isometry",
    "Hamiltonian",
    "DoubleBracket",
    "Metriplectic",
    "Grand",
    "Associative",
)


class Case(NamedTuple):
    """A field, a method, its step sizes, and the number of steps between evaluations."""

    field: Callable[[], VectorField]
    method: Integrator
    sizes: tuple[float, ...]
    every: int = 1


CASES = [
    Case(lambda: GraphHamiltonianField(DIM), Cayley(), (0.1, 0.4, 5.0)),
    Case(lambda: GraphHamiltonianField(DIM), EnergyScaledLeapfrog(), (0.1, 0.4)),
    Case(lambda: MetricHamiltonianField(DIM), Cayley(), (0.4, 5.0), 10),
    Case(lambda: SkewAttentionField(DIM), SkewCayley(), (0.4, 5.0)),
    Case(lambda: HamiltonianField(DIM), EnergyProjectedVerlet(), (0.1, 0.4), 10),
    Case(lambda: DoubleBracketField(DIM), SplitBracket(), (0.4, 5.0)),
    Case(lambda: DoubleBracketField(DIM), CoupledBracket(), (0.4, 5.0)),
    Case(lambda: DampedHamiltonianField(DIM), EnergyGuardedStep(), (0.4,)),
    Case(lambda: SphereTransformerField(DIM), SphereExponential(), (0.4, 5.0)),
    Case(lambda: MetriplecticField(DIM), MetriplecticStep(), (0.4, 5.0)),
    Case(lambda: SymmetricGrandField(DIM), ExplicitDiffusion(), (0.5,)),
    Case(lambda: SymmetricGrandField(DIM), ImplicitDiffusion(), (20.0,)),
    Case(lambda: SymmetricGrandField(DIM), Uniformization(), (3.0,)),
    Case(lambda: HopfieldField(DIM), HopfieldUpdate(), (0.5,)),
]
ORDERS = [
    (lambda: GraphHamiltonianField(DIM), Cayley(), 1),
    (lambda: GraphHamiltonianField(DIM), Cayley(midpoint=True), 2),
    (lambda: HamiltonianField(DIM), Verlet(), 2),
    (lambda: HamiltonianField(DIM), EnergyProjectedVerlet(), 2),
    (lambda: AttentionField(DIM), Euler(), 1),
    (lambda: AttentionField(DIM), Heun(), 2),
    (lambda: AttentionField(DIM), RK4(), 4),
]


def tokens(dtype: torch.dtype) -> Latent:
    """Random tokens (b k h) and positions (1 k 2), equal in every call."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(SAMPLES, TOKENS, DIM, generator=g)
    pos = torch.rand(1, TOKENS, 2, generator=g) - 0.5
    return Latent(z.to(dtype), pos.to(dtype), torch.tensor([True, False]))


def perturbed(module: nn.Module, dtype: torch.dtype, by: float = 0.3) -> Any:
    """The module with noise added to every parameter, drawn before the conversion to ``dtype``."""
    with torch.no_grad():
        for p in module.parameters():
            p += by * torch.randn_like(p)
    return module.to(dtype)


def states(
    case: Case, dtype: torch.dtype, h: float, steps: int
) -> Iterator[tuple[Tensor, Context]]:
    """States and contexts at the start and at every evaluated step."""
    torch.manual_seed(0)
    field = perturbed(case.field(), dtype)
    latent = tokens(dtype)
    context = Context.of(latent)
    size = torch.tensor(h, dtype=dtype)
    state = field.lift(latent.z, context)
    carry = case.method.init(field, state, context)
    yield state, context
    for step in range(1, steps + 1):
        state, carry = case.method.step(field, 0.0, size, state, context, carry)
        if step % case.every == 0:
            yield state, context


@torch.no_grad()
def violations(case: Case, dtype: torch.dtype, h: float, steps: int) -> dict[str, float]:
    """Largest violations of the law over all steps, relative to the initial energy or range."""
    worst: dict[str, float] = {}
    first = before = None
    torch.manual_seed(0)
    exact = perturbed(case.field(), torch.float64)
    law = case.method.law(exact)
    for state, context in states(case, dtype, h, steps):
        energy, scale, entropy = reference_energy(exact, state.double(), context.double())
        now = (energy, scale, entropy, state.double())
        if first is None or before is None:
            first = before = now
            continue
        found = {}
        if law in (Invariant.ENERGY, Invariant.METRIPLECTIC):
            found["drift"] = ((energy - first[0]).abs() / first[1]).amax()
        if law is Invariant.DECAY:
            found["rise"] = ((energy - before[0]) / first[1]).amax().clamp(min=0)
        if law is Invariant.METRIPLECTIC:
            found["entropy loss"] = (before[2] - entropy).amax().clamp(min=0)
        if law is Invariant.MAXIMUM:
            low = before[3].amin(1)
            high = before[3].amax(1)
            found["outside"] = (
                torch.maximum(now[3].amax(1) - high, low - now[3].amin(1)).amax().clamp(min=0)
            )
            found["mean"] = (now[3].mean(1) - first[3].mean(1)).abs().amax()
        worst = {name: max(worst.get(name, 0.0), float(value)) for name, value in found.items()}
        before = now
    return worst


@torch.no_grad()
def order(make: Callable[[], VectorField], method: Integrator) -> float:
    """Observed order of convergence from steps of 1/16, 1/32 and 1/64."""
    ends = []
    for steps in (16, 32, 64):
        torch.manual_seed(0)
        field = perturbed(make(), torch.float64, by=0.1)
        latent = tokens(torch.float64)
        context = Context.of(latent)
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        start = field.lift(latent.z, context)
        ends.append(method.solve(field, start, context, times=times, steps=steps)[-1])
    return float(torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()))


def trained(cls: type, updates: int = 60) -> Any:
    """A processor after some updates towards random targets, in bfloat16 autocast."""
    torch.manual_seed(0)
    processor = cls(DIM)
    latent = tokens(torch.float32)
    target = torch.randn_like(latent.z)
    optimizer = torch.optim.AdamW(processor.parameters(), lr=1e-2)
    for _ in range(updates):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (processor(latent).z - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return processor


def law_table(only: list[str], steps: int) -> Iterator[str]:
    """Markdown rows: violations of every case in double and single precision."""
    yield "| field | method | h | measured | float64 | float32 |\n|---|---|---|---|---|---|"
    for case in CASES:
        method = type(case.method).__name__
        if only and method not in only:
            continue
        for h in case.sizes:
            double = violations(case, torch.float64, h, steps)
            single = violations(case, torch.float32, h, steps)
            for name in double:
                cells = f"| {type(case.field()).__name__} | {method} | {h:g} | {name} "
                yield f"{cells}| {double[name]:.1e} | {single[name]:.1e} |"


def order_table() -> Iterator[str]:
    """Markdown rows: stated and observed orders."""
    yield "\n| field | method | order | observed |\n|---|---|---|---|"
    for make, method, expected in ORDERS:
        names = f"| {type(make()).__name__} | {type(method).__name__} "
        yield f"{names}| {expected} | {order(make, method):.2f} |"


def certificate_table(steps: int) -> Iterator[str]:
    """Markdown rows: certificates of processors after a short training in bfloat16."""
    yield "\n| processor, trained in bf16 | float64 | float32 | verdict |\n|---|---|---|---|"
    for name in TRAINED:
        c = verify(trained(getattr(processors, name)), tokens(torch.float32), steps=steps)
        double = c.findings[0].violation
        single = c.findings[1].violation
        yield f"| {name} | {double:.1e} | {single:.1e} | {c.verdict} |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], help="names of methods")
    parser.add_argument("--trained", action="store_true")
    args = parser.parse_args()
    # Tensors this small are up to fifteen times slower with several threads on a busy machine.
    torch.set_num_threads(1)
    lines = chain(
        law_table(args.only, args.steps),
        order_table(),
        certificate_table(args.steps) if args.trained else (),
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
