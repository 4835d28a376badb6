"""Memory that tensors have freed stays with the process, and is used again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

LARGEST = 2**25 - 2**14  # bytes: glibc raises its thresholds for freed blocks of up to 32 MB


def raise_malloc_threshold() -> None:
    """Lets the C library keep up to 64 MB of what is freed, instead of giving it back and asking for it again at every step.

    glibc starts with a threshold of 128 kB, above which a block is mapped for itself and unmapped
    when freed. Freeing a block of up to 32 MB raises that threshold to its size, and the heap is
    then trimmed only beyond twice as much (mallopt(3)). The block below is freed untouched, so this
    costs no memory. Each of the 2 800 to 17 000 pages that a training step used to
    touch anew costs a microsecond: on two cores steps take 0.8 to 0.9 of the time with it, decoding
    a million points 0.75. Other C libraries, and tensors on a GPU, are not affected.
    """
    torch.empty(
        LARGEST, dtype=torch.uint8, device="cpu"
    )  # whatever the default device is where models are built


def concatenate_into(pieces: Iterable[Tensor], total: int, *, dim: int) -> Tensor:
    """``torch.cat(list(pieces), dim)`` of ``total`` rows, each piece written to its place as it comes.

    Pieces that are kept until all are there lie between the buffers of the computation and hold the
    heap apart: a million queries in small pieces took 400 MB more, four million 1 GB.
    """
    pieces = iter(pieces)
    first = next(pieces)
    out = first.new_empty(*first.shape[:dim], total, *first.shape[dim + 1 :])
    at = 0
    for piece in itertools.chain([first], pieces):
        out.narrow(dim, at, piece.shape[dim]).copy_(piece)
        at += piece.shape[dim]
    return out
