"""How the memory of freed tensors is kept by the process and used again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import torch
from torch import Tensor

LARGEST_BLOCK = 2**25 - 2**14  # bytes: glibc raises its thresholds for freed blocks up to 32 MB
PRIMITIVES = 64


def raise_malloc_threshold() -> None:
    """Let the C library keep up to 64 MB of freed memory instead of returning it to the system.

    glibc starts with a threshold of 128 kB, above which a block is mapped separately and unmapped
    when it is freed. Freeing a block of up to 32 MB raises that threshold to its size, and the heap
    is then trimmed only beyond twice as much (mallopt(3)). The block below is freed without being
    touched, so it takes no memory. Without this, a training step touches 2 800 to 17 000 new pages,
    each of which costs a microsecond: on two cores the time of a step falls to 0.8 to 0.9 of what
    it was, and that of decoding a million points to 0.75. Other C libraries, and tensors on a GPU,
    are not affected.
    """
    # The device is named because models may be built under another default device.
    torch.empty(LARGEST_BLOCK, dtype=torch.uint8, device="cpu")


def limit_primitive_cache() -> None:
    """Let oneDNN keep `PRIMITIVES` compiled products of matrices instead of 1024.

    There is one for every shape and layer, of a few hundred kilobytes: predictions at ever new
    numbers of points took 0.5 to 1 MB more each. oneDNN reads the limit from the environment at its
    first product; a value that the user has set is kept.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))


def concatenate_into(chunks: Iterable[Tensor], total: int, *, dim: int) -> Tensor:
    """Compute ``torch.cat(list(chunks), dim)``, copying each chunk to its place when it arrives.

    Chunks that are kept until the last one is there lie between the buffers of the computation and
    fragment the heap: a million queries in small chunks took 400 MB more, four million 1 GB.

    Args:
        chunks: tensors that differ only in the size of axis ``dim``.
        total: the sum of these sizes.
        dim: the axis.

    Example:
        >>> concatenate_into(iter([torch.zeros(2, 3), torch.ones(2, 1)]), 4, dim=1).tolist()
        [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    """
    chunks = iter(chunks)
    first = next(chunks)
    out = first.new_empty(*first.shape[:dim], total, *first.shape[dim + 1 :])
    start = 0
    for chunk in itertools.chain([first], chunks):
        out.narrow(dim, start, chunk.shape[dim]).copy_(chunk)
        start += chunk.shape[dim]
    return out
