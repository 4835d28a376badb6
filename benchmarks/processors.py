"""Cost of one step of each flow beside a transformer block of the same width: time and saved memory, forward and backward.

    python benchmarks/processors.py [--device cuda] [--repeat 20] [--json out.json]

Every row is measured in turn within one loop, so that a busy machine slows all of them alike; the median is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fields.dynamics import (
    AttentionEnergy,
    AttentionField,
    CanonicalHamiltonian,
    Context,
    DoubleBracket,
    GraphHamiltonian,
    Metriplectic,
    RandomWalk,
    SymmetricGrand,
)
from fields.integrators import Cayley, Euler, ExplicitDiffusion, KineticProjection, MetriplecticStep, RadialLeapfrog, SplitBracket
from fields.nn.rotation import Rotation, SphereMLP
from fields.processors.stack import Block
from fields.sample import Latent

SIZES = ((64, 128, 16), (256, 256, 4))  # tokens, width, batch


def candidates(tokens: int, dim: int) -> dict[str, nn.Module]:
    """One step of each, the transformer block first."""
    steps = {
        "transformer block": (AttentionField(dim, heads=4, ratio=4.0), Euler()),
        "verlet + projection": (CanonicalHamiltonian(dim, energy=partial(AttentionEnergy, ratio=2)), KineticProjection()),
        "grand random walk": (RandomWalk(dim), ExplicitDiffusion()),
        "grand symmetric": (SymmetricGrand(dim), ExplicitDiffusion()),
        "cayley, n/2 edges": (GraphHamiltonian(dim, heads=2, edges=tokens // 2), Cayley()),
        "cayley, n edges": (GraphHamiltonian(dim, heads=4), Cayley()),
        "radial leapfrog, n edges": (GraphHamiltonian(dim, heads=4), RadialLeapfrog()),
        "double bracket, n edges": (DoubleBracket(dim, heads=4), SplitBracket()),
        "metriplectic, n edges": (Metriplectic(dim, heads=4), MetriplecticStep()),
    }
    blocks: dict[str, nn.Module] = {name: Block(field=field, integrator=integrator) for name, (field, integrator) in steps.items()}
    return blocks | {"rotation": Rotation(dim), "sphere mlp": SphereMLP(dim, ratio=4.0)}


def prepare(module: nn.Module, latent: Latent) -> Callable[[], Tensor]:
    """A closure that makes one forward pass; what a trajectory does once (lift, first force) is left out."""
    if not isinstance(module, Block):
        return lambda: module(latent.z)
    context = Context.of(latent)
    state = module.field.lift(latent.z, context).detach().requires_grad_()
    carry = module.begin(state.detach(), context)
    carry = type(carry)(*(x.detach() for x in carry)) if hasattr(carry, "_fields") else carry
    carry = carry.detach() if isinstance(carry, Tensor) else carry
    return lambda: module.advance(state, carry, context)[0]


def saved_bytes(forward: Callable[[], Tensor], parameters: set[int]) -> int:
    """Memory that the backward pass keeps, parameters apart."""
    seen: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in parameters:
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        keep = forward()  # alive until the storages are counted, so that none is counted under a reused address
        total = sum(seen.values())
        del keep
    return total


def measure(tokens: int, dim: int, batch: int, *, device: str, repeat: int) -> list[dict[str, float | str]]:
    torch.manual_seed(0)
    z = torch.randn(batch, tokens, dim, device=device, requires_grad=True)
    latent = Latent(z, torch.rand(1, tokens, 2, device=device) - 0.5, torch.tensor([True, False], device=device))
    modules = {name: module.to(device) for name, module in candidates(tokens, dim).items()}
    forwards = {name: prepare(module, latent) for name, module in modules.items()}
    memory = {n: saved_bytes(f, {p.untyped_storage().data_ptr() for p in modules[n].parameters()}) for n, f in forwards.items()}
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for i in range(repeat + 2):
        for name, forward in forwards.items():
            start = time.perf_counter()
            forward().square().mean().backward()
            if device == "cuda":
                torch.cuda.synchronize()
            if i >= 2:
                times[name].append(time.perf_counter() - start)
    block = statistics.median(times["transformer block"])
    return [
        {
            "step": name,
            "tokens": tokens,
            "dim": dim,
            "milliseconds": 1e3 * statistics.median(t),
            "of_block": statistics.median(t) / block,
            "saved_megabytes_per_sample": memory[name] / batch / 1e6,
        }
        for name, t in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = [row for size in SIZES for row in measure(*size, device=options.device, repeat=options.repeat)]
    print(f"{'step':26s} {'tokens':>6s} {'dim':>5s} {'ms':>8s} {'of block':>9s} {'MB/sample':>10s}")
    for r in rows:
        print(
            f"{r['step']:26s} {r['tokens']:6d} {r['dim']:5d} {r['milliseconds']:8.2f} {r['of_block']:9.2f} "
            f"{r['saved_megabytes_per_sample']:10.2f}"
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
