"""Time and saved memory of one step of each flow, relative to a transformer block of equal width.

    python -m benchmarks.processors [--device cuda] [--repeat 20] [--only grand] \
        [--json out.json] [--markdown out.md]

Forward and backward pass. All rows are measured in turn within one loop, so that a busy machine
slows all of them alike; the share is the median of the ratios of neighboring runs. On CPU the time
is the CPU time of one thread, which other work disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.tables import markdown
from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.flows.double_bracket import DoubleBracketField, SplitBracket
from fields.flows.grand import ExplicitDiffusion, RandomWalkField, SymmetricGrandField
from fields.flows.graph_hamiltonian import GraphHamiltonianField
from fields.flows.hamiltonian import HamiltonianField
from fields.flows.metriplectic import MetriplecticField, MetriplecticStep
from fields.integrators.cayley import Cayley, EnergyScaledLeapfrog
from fields.integrators.explicit import Euler
from fields.integrators.verlet import EnergyProjectedVerlet
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.attention_ode import AttentionField
from fields.processors.block import FlowBlock

SIZES = ((64, 128, 16), (256, 256, 4))  # tokens, width, batch
BLOCK = "transformer block"
# The largest share of the block's time that a step may take: (step, tokens, width) -> share.
LIMITS = {
    ("verlet + projection", 64, 128): 0.75,
    ("verlet + projection", 256, 256): 0.5,
    ("grand random walk", 64, 128): 0.65,
    ("grand random walk", 256, 256): 0.4,
    ("cayley, n/2 edges", 64, 128): 0.8,
    ("cayley, n/2 edges", 256, 256): 0.55,
}


def candidates(tokens: int, dim: int) -> dict[str, nn.Module]:
    """Modules that take one step each; the transformer block comes first."""
    steps = {
        BLOCK: (AttentionField(dim, heads=4, ratio=4.0), Euler()),
        "verlet + projection": (HamiltonianField(dim), EnergyProjectedVerlet()),
        "grand random walk": (RandomWalkField(dim), ExplicitDiffusion()),
        "grand symmetric": (SymmetricGrandField(dim), ExplicitDiffusion()),
        "cayley, n/2 edges": (GraphHamiltonianField(dim, heads=2, edges=tokens // 2), Cayley()),
        "cayley, n edges": (GraphHamiltonianField(dim, heads=4), Cayley()),
        "radial leapfrog, n edges": (GraphHamiltonianField(dim, heads=4), EnergyScaledLeapfrog()),
        "double bracket, n edges": (DoubleBracketField(dim, heads=4), SplitBracket()),
        "metriplectic, n edges": (MetriplecticField(dim, heads=4), MetriplecticStep()),
    }
    blocks: dict[str, nn.Module] = {
        name: FlowBlock(field=field, integrator=integrator)
        for name, (field, integrator) in steps.items()
    }
    return blocks | {"rotation": Rotation(dim), "sphere mlp": SphereMLP(dim, ratio=4.0)}


def prepare(module: nn.Module, latent: Latent) -> Callable[[], Tensor]:
    """A function that makes one forward pass, without what a trajectory does once.

    The lift and the first force are computed here and are therefore not part of the measurement.
    """
    if not isinstance(module, FlowBlock):
        return lambda: module(latent.z)
    context = Context.of(latent)
    state = module.field.lift(latent.z, context).detach().requires_grad_()
    carry = module.begin(state.detach(), context)
    carry = type(carry)(*(x.detach() for x in carry)) if hasattr(carry, "_fields") else carry
    carry = carry.detach() if isinstance(carry, Tensor) else carry
    return lambda: module.advance(state, carry, context)[0]


def saved_bytes(forward: Callable[[], Tensor], parameters: set[int]) -> int:
    """Bytes that the forward pass saves for the backward pass, without the parameters."""
    seen: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in parameters:
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = forward()  # kept alive until the count, so that no address is reused
        total = sum(seen.values())
        del result
    return total


def measure(
    tokens: int, dim: int, batch: int, options: argparse.Namespace
) -> list[dict[str, float | str]]:
    """Times and saved memory of every step at one size, as rows of the JSON file."""
    torch.manual_seed(0)
    device = options.device
    z = torch.randn(batch, tokens, dim, device=device, requires_grad=True)
    latent = Latent(
        z, torch.rand(1, tokens, 2, device=device) - 0.5, torch.tensor([True, False], device=device)
    )
    modules = {name: module.to(device) for name, module in candidates(tokens, dim).items()}
    modules = {name: m for name, m in modules.items() if name == BLOCK or options.only in name}
    forwards = {name: prepare(module, latent) for name, module in modules.items()}
    memory = {
        n: saved_bytes(f, {p.untyped_storage().data_ptr() for p in modules[n].parameters()})
        for n, f in forwards.items()
    }
    if options.compile:
        forwards = {
            name: torch.compile(forward, fullgraph=True) for name, forward in forwards.items()
        }
    clock = time.perf_counter if device == "cuda" else time.process_time
    cotangents = {name: torch.randn_like(forward()) for name, forward in forwards.items()}
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for i in range(options.repeat + 2):
        for name, forward in forwards.items():
            start = clock()
            forward().backward(cotangents[name])
            if device == "cuda":
                torch.cuda.synchronize()
            if i >= 2:
                times[name].append(clock() - start)
    return [
        {
            "step": name,
            "tokens": tokens,
            "dim": dim,
            "milliseconds_per_sample": 1e3 * statistics.median(t) / batch,
            "of_block": statistics.median(
                own / block for own, block in zip(t, times[BLOCK], strict=True)
            ),
            "limit": LIMITS.get((name, tokens, dim), float("nan")),
            "saved_megabytes_per_sample": memory[name] / batch / 1e6,
        }
        for name, t in times.items()
    ]


def main() -> None:
    """Measures all sizes, prints the table and writes the files asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument(
        "--only", default="", help="steps whose name contains this string, and the block"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile with torch.compile(fullgraph=True)"
    )
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for size in SIZES for row in measure(*size, options)]
    table = [
        ["step", "tokens", "width", "ms per sample", "of block", "limit", "MB saved per sample"]
    ]
    for r in rows:
        figures = [
            f"{r['milliseconds_per_sample']:.2f}",
            f"{r['of_block']:.2f}",
            f"{r['limit']:.2f}".replace("nan", ""),
        ]
        table.append(
            [
                str(r["step"]),
                str(r["tokens"]),
                str(r["dim"]),
                *figures,
                f"{r['saved_megabytes_per_sample']:.2f}",
            ]
        )
    text = markdown(table)
    print(text)
    if options.json:
        with open(options.json, "w") as file:
            about = {
                "torch": torch.__version__,
                "repeat": options.repeat,
                "compile": options.compile,
            }
            json.dump(about | {"rows": rows}, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
