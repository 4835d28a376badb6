"""Rate of decoding a million query points, compared with plain MLPs of the same width.

    python benchmarks/queries.py [--points 1000000] [--dim 128] [--tokens 16] [--threads 2] \
        [--repeat 2]

``MLP`` has the decoders' width, their Fourier features and as many linear maps as a query passes
through in a decoder: embedding, query, output, two in the block's MLP and two in the head.
``shallow MLP`` has two hidden layers less.

Points are evaluated ``--chunk`` at a time, so memory does not grow with their number. All models
are timed in turn within one loop, and the best time of each is reported: wall time, or with one
thread the CPU time of the thread, which other work hardly changes. The rate of the machine is that
of matrix products of a chunk by a square matrix of the width, timed in the same loop. Peak memory
is that of a process of its own, Python and PyTorch included.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.cache import in_subprocess, peak_memory
from benchmarks.tables import markdown
from fields.core.allocator import concatenate_into, raise_malloc_threshold
from fields.core.sample import Latent, Schema
from fields.decoders.cross_attention import CrossAttention
from fields.nn.embeddings import FourierFeatures, grid_points

SCHEMA = Schema(coords=("x", "y"), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0), (0.0, 1.0)))
HIDDEN = {"MLP": 6, "shallow MLP": 4}  # hidden layers
HEAD = (
    "decoder",
    "points/s",
    "× MLP's time",
    "kFLOP/point",
    "of matmul rate",
    "peak memory (before decoding)",
)
NEAREST = 9  # tokens per query of the local decoder, as in configs/decoder/local.yaml


def fused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: object, **__: object
) -> int:
    """Floating-point operations of the fused attention kernel on CPU."""
    return sdpa_flop_count(q, k, v)


def added(
    total: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], *_: object, **__: object
) -> int:
    """Floating-point operations of a matrix product that is added in place."""
    return 2 * a[0] * a[1] * b[1]


# Operators that PyTorch's counter does not know.
UNKNOWN = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused,
    torch.ops.aten.addmm_: added,
}


class PlainMLP(nn.Module):
    """An MLP of the query point: f(y) = W σ(W_l … σ(W₁ γ(y))), with Fourier features γ.

    Shape: (1 m 2) -> (1 m 1).
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fourier = FourierFeatures(SCHEMA.periodic)
        sizes = (self.fourier.dim, *[dim] * hidden)
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.GELU())]
        self.layers = nn.Sequential(*layers, nn.Linear(dim, 1))

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(self.fourier(y))


def model(name: str, dim: int, tokens: int) -> Callable[[Tensor], Tensor]:
    """A function from points (1 m 2) to values (1 m 1) with random weights and random tokens."""
    raise_malloc_threshold()  # as in every complete model
    torch.manual_seed(0)
    if name in HIDDEN:
        return PlainMLP(dim, HIDDEN[name]).eval()
    decoder = CrossAttention(dim, SCHEMA, nearest=NEAREST if name == "nearest" else None).eval()
    anchors = grid_points((tokens, tokens))[None]
    latent = Latent(torch.randn(1, tokens**2, dim), anchors, torch.tensor(SCHEMA.periodic))
    return lambda y: decoder(latent, y)


@torch.inference_mode()
def decode(f: Callable[[Tensor], Tensor], points: Tensor, chunk: int) -> Tensor:
    """The values at all points, evaluated a chunk at a time."""
    return concatenate_into(map(f, points.split(chunk, dim=1)), points.shape[1], dim=1)


def peak(name: str, args: argparse.Namespace) -> tuple[int, int]:
    """Peak memory of this process in bytes before and after all points are decoded."""
    torch.set_num_threads(args.threads)
    f = model(name, args.dim, args.tokens)
    points = torch.rand(1, args.points, 2) - 0.5
    decode(f, points[:, :64], 64)
    before = peak_memory()
    decode(f, points, args.chunk)
    return before, peak_memory()


@torch.inference_mode()
def operations(f: Callable[[Tensor], Tensor]) -> float:
    """FLOP in matrix products per point, without those done once per sample."""
    counts = []
    for size in (512, 1024):
        with FlopCounterMode(display=False, custom_mapping=UNKNOWN) as counter:
            f(torch.rand(1, size, 2) - 0.5)
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / 512


def timed(names: Sequence[str], args: argparse.Namespace) -> tuple[dict[str, float], float]:
    """Best seconds of each model for all points, and the rate of matrix products in FLOP/s."""
    models = {name: model(name, args.dim, args.tokens) for name in names}
    points = torch.rand(1, args.points, 2) - 0.5
    seconds = dict.fromkeys(names, float("inf"))
    rate = 0.0
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    a = torch.rand(args.chunk, args.dim)
    b = torch.rand(args.dim, args.dim)
    for _ in range(args.repeat):
        for name, f in models.items():
            decode(f, points[:, : args.chunk], args.chunk)
            start = clock()
            decode(f, points, args.chunk)
            seconds[name] = min(seconds[name], clock() - start)
        start = clock()
        for _ in range(50):
            torch.matmul(a, b)
        rate = max(rate, 50 * 2 * args.chunk * args.dim**2 / (clock() - start))
    return seconds, rate


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = {
        "points": 1_000_000,
        "dim": 128,
        "tokens": 16,
        "chunk": 16384,
        "threads": 2,
        "repeat": 2,
    }
    for key, default in defaults.items():
        parser.add_argument(f"--{key}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=None, help="Markdown file for the table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> str:
    """Measures, prints and returns the table with its protocol."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    names = (*HIDDEN, "cross_attention", "nearest")
    seconds, rate = timed(names, args)
    rows: list[Sequence[str]] = [HEAD]
    for name in names:
        flops = operations(model(name, args.dim, args.tokens))
        before, after = in_subprocess(peak, name, args)
        share = flops * args.points / seconds[name] / rate
        rows.append(
            [
                name,
                f"{args.points / seconds[name]:,.0f}",
                f"{seconds[name] / seconds['MLP']:.2f}",
                f"{flops / 1e3:.0f}",
                f"{share:.2f}",
                f"{after / 1e6:.0f} MB ({before / 1e6:.0f})",
            ]
        )
    note = (
        f"{args.points:,} points of one sample with {args.tokens}² tokens, width {args.dim}, "
        f"{args.chunk} points at a time, float32, {args.threads} threads "
        f"({'CPU' if args.threads == 1 else 'wall'} time), best of {args.repeat};\n"
        "MLP: same width, Fourier features and number of linear maps as the decoders "
        f"({HIDDEN['MLP']} hidden layers; shallow: {HIDDEN['shallow MLP']}); matrix products run "
        f"at {rate / 1e9:.0f} GFLOP/s ({args.chunk}×{args.dim} by {args.dim}²).\n"
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}."
    )
    text = f"{markdown(rows)}\n\n{note}\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        command = f"python benchmarks/queries.py {' '.join(argv or sys.argv[1:])}"
        args.out.write_text(f"# A million query points\n\n{text}Made by `{command}`.\n")
    return text


if __name__ == "__main__":
    main()
