"""`attend` beside `scaled_dot_product_attention`: the same scores, the same machine, taking turns.

    python -m benchmarks.attention [--repeat 7] [--device cpu] [--only geometric]

Prints, per case, the median time of both in milliseconds and the median ratio of neighbouring runs, attend / SDPA (below 1
is faster). On CPU it is the processor time of one thread, which other work on the machine disturbs less than the wall
clock. The thresholds PLAIN and BIAS in `fields/nn/attention.py` come from this table; ``--thresholds`` forces each path.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fields.nn import attention
from fields.nn.geometry import Locality

# name: samples, heads, queries, keys, width per head
SHAPES = {
    "self 64": (8, 4, 64, 64, 32),
    "self 256": (4, 4, 256, 256, 32),
    "self 256 wide": (4, 4, 256, 256, 64),
    "cross 1024 × 256": (2, 4, 1024, 256, 32),
    "cross 4096 × 256": (1, 4, 4096, 256, 32),
    "encode 256 × 4096": (1, 4, 256, 4096, 32),
}


def build(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: str, train: bool) -> dict[str, Callable[[], Tensor]]:
    """Both contestants as functions of nothing, on the same inputs."""
    b, heads, m, k, e = shape
    q, keys, v = (torch.randn(b, heads, n, e, dtype=dtype, device=device, requires_grad=train) for n in (m, k, k))
    if kind == "plain":
        return {"attend": lambda: attention.attend(q, keys, v), "sdpa": lambda: F.scaled_dot_product_attention(q, keys, v)}
    if kind == "masked":
        mask = torch.arange(k, device=device) < torch.randint(k // 2, k, (b, 1, 1, 1), device=device)
        return {
            "attend": lambda: attention.attend(q, keys, v, mask=mask),
            "sdpa": lambda: F.scaled_dot_product_attention(q, keys, v, attn_mask=mask.expand(b, 1, m, k)),
        }
    locality = Locality(heads=heads, lengths=(0.05, 0.3)).to(device).requires_grad_(train)
    x_q, x_k = (torch.rand(1, n, 2, device=device) - 0.5 for n in (m, k))
    periodic = torch.tensor([True, False], device=device)

    def peer() -> Tensor:
        columns = locality(x_q, x_k, periodic)
        return F.scaled_dot_product_attention(q, keys, v, attn_mask=(columns[0] @ columns[1].mT).to(dtype))

    return {"attend": lambda: attention.attend(q, keys, v, columns=locality(x_q, x_k, periodic)), "sdpa": peer}


def turns(runs: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Milliseconds of each, in alternating order; the first round warms up."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(repeat + 1):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            start = clock()
            runs[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(1e3 * (clock() - start))
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--thresholds", action="store_true", help="time each path of attend against the other")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'case':38} {'dtype':9} {'pass':8} {'attend':>8} {'sdpa':>8} {'ratio':>6}" + ("  forced" if options.thresholds else ""))
    for kind in ("plain", "masked", "geometric"):
        for name, shape in SHAPES.items():
            if options.only not in f"{kind} {name}":
                continue
            for dtype in (torch.float32, torch.bfloat16):
                for train in (False, True):
                    row(kind, name, shape, dtype, train, options)


def row(kind: str, name: str, shape: tuple[int, ...], dtype: torch.dtype, train: bool, options: argparse.Namespace) -> None:
    """One line of the table, or one per path with ``--thresholds``."""
    chosen = attention.PLAIN, attention.BIAS
    for limit in (0, 2**40) if options.thresholds else (None,):
        if limit is not None:
            attention.PLAIN = attention.BIAS = limit
        passes = build(kind, shape, dtype, options.device, train)
        backwards = {label: lambda run=run: run().sum().backward() for label, run in passes.items()}
        with torch.set_grad_enabled(train):
            times = turns(backwards if train else passes, options.repeat)
        ratio = statistics.median(a / s for a, s in zip(times["attend"], times["sdpa"], strict=True))
        ours, theirs = (statistics.median(times[label]) for label in ("attend", "sdpa"))
        forced = "" if limit is None else "  fused" if limit == 0 else "  small"
        label, mode = f"{kind} {name}", "fwd+bwd" if train else "fwd"
        print(f"{label:38} {str(dtype)[6:]:9} {mode:8} {ours:8.2f} {theirs:8.2f} {ratio:6.2f}{forced}", flush=True)
    attention.PLAIN, attention.BIAS = chosen


if __name__ == "__main__":
    main()
