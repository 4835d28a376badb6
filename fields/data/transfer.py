"""Batches on their way from a loader process to the training process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fields.core.sample import Sample, collate

ALIGNED = 64  # bytes: a tensor begins where a processor's vector instructions like it

Layout = list[
    tuple[int, int, torch.dtype, tuple[int, ...]]
]  # of each tensor: first byte, bytes, type, shape


class SharedMemoryBatch(Sample):
    """A batch that is pickled as one piece of shared memory, and is a `Sample` again when it is unpickled.

    PyTorch hands over every tensor with a connection of its own to the loader process, which
    answers between two reads of a
    file at best: eight tensors wait eight times. Tensors that are the same (queries at the points
    of the input) go once.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple:
        layout, known, end = [], {}, 0
        for tensor in self:
            view = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if view not in known:
                known[view] = (end, tensor.nbytes, tensor.dtype, tuple(tensor.shape))
                end += -(-tensor.nbytes // ALIGNED) * ALIGNED
            layout.append(known[view])
        memory = torch.empty(0, dtype=torch.uint8).set_(
            torch.UntypedStorage._new_shared(end)
        )  # as PyTorch's own collate does
        for place, tensor in zip(_tensors(memory, layout), self, strict=True):
            place.copy_(tensor)
        return _opened, (memory, layout)


def collate_to_shared_memory(samples: Sequence[Sample]) -> SharedMemoryBatch:
    """Collates, for loader processes."""
    return SharedMemoryBatch(*collate(samples))


def _opened(memory: Tensor, layout: Layout) -> Sample:
    return Sample(*_tensors(memory, layout))


def _tensors(memory: Tensor, layout: Layout) -> list[Tensor]:
    return [
        memory[first : first + size].view(dtype).view(shape) for first, size, dtype, shape in layout
    ]
