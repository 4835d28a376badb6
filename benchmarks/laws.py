"""The laws, measured: how far each method strays from what it claims, step by step, with attention recomputed at every step.

    python -m benchmarks.laws [--steps 1000] [--only Cayley EnergyProjectedVerlet] [--trained]

Random weights, 3 samples of 12 tokens and 16 channels. Prints the Markdown tables of
docs/guarantees.md: the largest breach over all steps in double and in single precision, and the
observed orders of convergence. ``--trained`` adds the certificates of `fields.evaluation.verify`
for every lawful processor after a short training in bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
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

DIM, TOKENS, SAMPLES = 16, 12, 3


class Case(NamedTuple):
    """A field, a method, its step sizes, and how often the energy is looked at."""

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
    """The same random tokens every time."""
    g = torch.Generator().manual_seed(0)
    z, pos = (
        torch.randn(SAMPLES, TOKENS, DIM, generator=g),
        torch.rand(1, TOKENS, 2, generator=g) - 0.5,
    )
    return Latent(z.to(dtype), pos.to(dtype), torch.tensor([True, False]))


def shaken(module: nn.Module, dtype: torch.dtype, by: float = 0.3) -> Any:
    """Random weights everywhere, the same in either precision."""
    with torch.no_grad():
        for p in module.parameters():
            p += by * torch.randn_like(p)
    return module.to(dtype)


def states(
    case: Case, dtype: torch.dtype, h: float, steps: int
) -> Iterator[tuple[Tensor, Context]]:
    """The state at every step that is looked at."""
    torch.manual_seed(0)
    field, latent = shaken(case.field(), dtype), tokens(dtype)
    context, size = Context.of(latent), torch.tensor(h, dtype=dtype)
    state = field.lift(latent.z, context)
    carry = case.method.init(field, state, context)
    yield state, context
    for step in range(1, steps + 1):
        state, carry = case.method.step(field, 0.0, size, state, context, carry)
        if step % case.every == 0:
            yield state, context


@torch.no_grad()
def breach(case: Case, dtype: torch.dtype, h: float, steps: int) -> dict[str, float]:
    """Largest breach of the law, relative to the energy (or the range) at the start."""
    worst: dict[str, float] = {}
    first = before = None
    torch.manual_seed(0)
    exact = shaken(case.field(), torch.float64)
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
            low, high = before[3].amin(1), before[3].amax(1)
            found["outside"] = (
                torch.maximum(now[3].amax(1) - high, low - now[3].amin(1)).amax().clamp(min=0)
            )
            found["mean"] = (now[3].mean(1) - first[3].mean(1)).abs().amax()
        worst = {name: max(worst.get(name, 0.0), float(value)) for name, value in found.items()}
        before = now
    return worst


@torch.no_grad()
def order(make: Callable[[], VectorField], method: Integrator) -> float:
    """Observed order between steps of 1/16, 1/32 and 1/64."""
    ends = []
    for steps in (16, 32, 64):
        torch.manual_seed(0)
        field, latent = shaken(make(), torch.float64, by=0.1), tokens(torch.float64)
        context = Context.of(latent)
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        ends.append(
            method.solve(field, field.lift(latent.z, context), context, times=times, steps=steps)[
                -1
            ]
        )
    return float(torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()))


def trained(cls: type, updates: int = 60) -> Any:
    """A processor after some updates towards random targets, in bfloat16 autocast."""
    torch.manual_seed(0)
    processor, latent = cls(DIM), tokens(torch.float32)
    target, optimizer = (
        torch.randn_like(latent.z),
        torch.optim.AdamW(processor.parameters(), lr=1e-2),
    )
    for _ in range(updates):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (processor(latent).z - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return processor


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], help="names of methods")
    parser.add_argument("--trained", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(
        1
    )  # so small that threads would wait for each other: fifteen times slower on a busy machine
    print(
        "| field | method | h | measured | float64 | float32 |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for case in CASES:
        if args.only and type(case.method).__name__ not in args.only:
            continue
        for h in case.sizes:
            double, single = (
                breach(case, dtype, h, args.steps) for dtype in (torch.float64, torch.float32)
            )
            for name in double:
                names = f"{type(case.field()).__name__} | {type(case.method).__name__}"
                print(
                    f"| {names} | {h:g} | {name} | {double[name]:.1e} | {single[name]:.1e} |",
                    flush=True,
                )
    print("\n| field | method | order | observed |\n|---|---|---|---|")
    for make, method, expected in ORDERS:
        print(
            f"| {type(make()).__name__} | {type(method).__name__} | {expected} | {order(make, method):.2f} |",
            flush=True,
        )
    if args.trained:
        print("\n| processor, trained in bf16 | float64 | float32 | verdict |\n|---|---|---|---|")
        for name in (
            "GraphHamiltonian",
            "Isometry",
            "Hamiltonian",
            "DoubleBracket",
            "Metriplectic",
            "Grand",
            "Associative",
        ):
            c = verify(trained(getattr(processors, name)), tokens(torch.float32), steps=args.steps)
            print(
                f"| {name} | {c.findings[0].violation:.1e} | {c.findings[1].violation:.1e} | {c.verdict} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
