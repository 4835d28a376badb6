"""`attention_kernel` against PyTorch's `scaled_dot_product_attention` (SDPA) with equal scores.

    python -m benchmarks.attention [--repeat 21] [--quick] [--device cpu] [--only geometric] \
        [--out table.md]
    python -m benchmarks.attention --memory

For each case: the median time of both in milliseconds, and the median ratio of neighboring
readings, kernel / SDPA (below 1 is faster), with its quartiles. SDPA gets the arguments it supports
natively: the mask, broadcast, and the geometric score as a bias. On CPU a reading is the CPU time
of one thread, which other work disturbs less than wall time, over as many calls as take 10 ms. The
thresholds PLAIN and BIAS in `fields/nn/attention/kernels.py` are chosen from this table;
``--thresholds`` forces each path. ``--memory`` prints the peak memory of one training step above
the memory before it, with one process per case.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fields.nn.attention import kernels
from fields.nn.geometry import DistanceScore

# name: samples, heads, queries, keys, width per head
SHAPES = {
    "self 64": (8, 4, 64, 64, 32),
    "self 256": (4, 4, 256, 256, 32),
    "self 256 wide": (4, 4, 256, 256, 64),
    "cross 1024 × 256": (2, 4, 1024, 256, 32),
    "cross 4096 × 256": (1, 4, 4096, 256, 32),
    "encode 256 × 4096": (1, 4, 256, 4096, 32),
}
QUICK = ("self 64", "self 256", "cross 1024 × 256")
KINDS = ("plain", "masked", "causal", "geometric")
READING = 10.0  # milliseconds
MEMORY = [(m, 256) for m in (4096, 8192, 16384, 32768)] + [(n, n) for n in (1024, 2048, 4096)]


def build(
    kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: str, train: bool
) -> dict[str, Callable[[], Tensor]]:
    """Both implementations as functions without arguments, on the same inputs."""
    b, heads, m, k, e = shape
    q, keys, v = (
        torch.randn(b, heads, n, e, dtype=dtype, device=device, requires_grad=train)
        for n in (m, k, k)
    )
    ours = kernels.attention_kernel
    sdpa = F.scaled_dot_product_attention
    if kind == "plain":
        return {"kernel": lambda: ours(q, keys, v), "sdpa": lambda: sdpa(q, keys, v)}
    if kind == "causal":
        return {
            "kernel": lambda: ours(q, keys, v, causal=True),
            "sdpa": lambda: sdpa(q, keys, v, is_causal=True),
        }
    if kind == "masked":
        length = torch.randint(k // 2, k, (b, 1, 1, 1), device=device)
        mask = torch.arange(k, device=device) < length
        return {
            "kernel": lambda: ours(q, keys, v, mask=mask),
            "sdpa": lambda: sdpa(q, keys, v, attn_mask=mask),
        }
    locality = DistanceScore(heads=heads, lengths=(0.05, 0.3)).to(device).requires_grad_(train)
    x_q, x_k = (torch.rand(1, n, 2, device=device) - 0.5 for n in (m, k))
    periodic = torch.tensor([True, False], device=device)

    def peer() -> Tensor:
        columns = locality(x_q, x_k, periodic)
        return sdpa(q, keys, v, attn_mask=(columns[0] @ columns[1].mT).to(dtype))

    return {
        "kernel": lambda: ours(q, keys, v, columns=locality(x_q, x_k, periodic)),
        "sdpa": peer,
    }


def turns(runs: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Milliseconds per call of each function, measured in alternating order.

    A first round warms up and determines how many calls make a reading of about 10 ms.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time

    def reading(run: Callable[[], object], calls: int) -> float:
        start = clock()
        for _ in range(calls):
            run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return 1e3 * (clock() - start) / calls

    for run in runs.values():
        reading(run, 2)
    calls = max(1, round(READING / min(reading(run, 2) for run in runs.values())))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(repeat):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            times[name].append(reading(runs[name], calls))
    return times


def main() -> None:
    """Prints the table row by row, and writes it if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument(
        "--quick", action="store_true", help=f"only {', '.join(QUICK)}, a third of the readings"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="cases whose name contains this string")
    parser.add_argument("--thresholds", action="store_true", help="force each path of the kernel")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of times")
    parser.add_argument("--peak", nargs=3, metavar=("WHO", "M", "K"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="also write the table into this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak[0], *map(int, options.peak[1:])))
        return
    lines = []
    for line in memory() if options.memory else times(options):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


def times(options: argparse.Namespace) -> Iterator[str]:
    """The rows of the table of times."""
    yield "| case | type | pass | kernel, ms | SDPA, ms | ratio (quartiles) |"
    yield "|---|---|---|---|---|---|"
    repeat = options.repeat // 3 if options.quick else options.repeat
    for kind in KINDS:
        for name, shape in SHAPES.items():
            label = f"{kind} {name}"
            wanted = options.only in label and (not options.quick or name in QUICK)
            if not wanted or (kind == "causal" and shape[2] != shape[3]):
                continue
            for dtype in (torch.float32, torch.bfloat16):
                for train in (False, True):
                    for forced in ("fused", "small") if options.thresholds else ("",):
                        yield row(kind, label, shape, dtype, train, repeat, options.device, forced)


def row(
    kind: str,
    label: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    train: bool,
    repeat: int,
    device: str,
    forced: str,
) -> str:
    """One row of the table; ``forced`` names a path that is taken for any size."""
    chosen = kernels.PLAIN, kernels.BIAS
    if forced:
        kernels.PLAIN = kernels.BIAS = 0 if forced == "fused" else 2**40
    runs = build(kind, shape, dtype, device, train)
    if train:
        runs = {label: (lambda run=run: run().sum().backward()) for label, run in runs.items()}
    with torch.set_grad_enabled(train):
        taken = turns(runs, repeat)
    kernels.PLAIN, kernels.BIAS = chosen
    ratios = [a / s for a, s in zip(taken["kernel"], taken["sdpa"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours, theirs = (statistics.median(taken[name]) for name in ("kernel", "sdpa"))
    mode = "forward + backward" if train else "forward"
    tail = f" {forced} |" if forced else ""
    ratio = f"{middle:.2f} ({low:.2f}–{high:.2f})"
    return f"| {label} | {str(dtype)[6:]} | {mode} | {ours:.2f} | {theirs:.2f} | {ratio} |{tail}"


def memory() -> Iterator[str]:
    """The rows of the table of peak memory; every case runs in a new process.

    The environment makes malloc return freed memory to the system immediately.
    """
    yield "| queries | keys | kernel, MB | per 1000 queries | SDPA with a bias, MB |"
    yield "|---|---|---|---|---|"
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    for m, k in MEMORY:
        command = [sys.executable, "-m", "benchmarks.attention", "--peak"]
        runs = [[*command, who, str(m), str(k)] for who in ("kernel", "sdpa")]
        ours, theirs = (
            float(subprocess.run(run, capture_output=True, check=True, env=environment).stdout)
            for run in runs
        )
        yield f"| {m} | {k} | {ours:.1f} | {1000 * ours / m:.2f} | {theirs:.1f} |"


def peak(who: str, m: int, k: int) -> float:
    """Peak memory of a geometric training step above the memory before it, in MB (Linux)."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

    def step(m: int, k: int) -> Callable[[], None]:
        run = build("geometric", (1, 4, m, k, 32), torch.float32, "cpu", True)[who]
        return lambda: run().sum().backward()

    step(1024, 512)()  # loads libraries and starts threads
    measured = step(m, k)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    measured()
    return status("VmHWM") - before


if __name__ == "__main__":
    main()
