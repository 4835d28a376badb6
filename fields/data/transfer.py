"""Batches on their way from a loader process to the training process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fields.core.sample import Sample, collate

# Every tensor begins at a multiple of this many bytes, as vector instructions prefer.
ALIGNMENT = 64

# For each tensor: first byte, number of bytes, type, shape.
Layout = list[tuple[int, int, torch.dtype, tuple[int, ...]]]


class SharedMemoryBatch(Sample):
    """A batch that is pickled as one block of shared memory and unpickled as a `Sample`.

    PyTorch sends every tensor over a connection of its own to the loader process, which answers
    between two reads of a file at best; a batch of eight tensors waits eight times. Equal tensors
    (queries at the points of the input) are sent once.

    Example:
        >>> import pickle
        >>> batch = Sample(*(torch.zeros(1, 3) for _ in Sample._fields))
        >>> type(pickle.loads(pickle.dumps(SharedMemoryBatch(*batch)))).__name__
        'Sample'
    """

    __slots__ = ()

    def __reduce__(self) -> tuple:
        layout: Layout = []
        known: dict[tuple, tuple[int, int, torch.dtype, tuple[int, ...]]] = {}
        end = 0
        for tensor in self:
            view = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if view not in known:
                known[view] = (end, tensor.nbytes, tensor.dtype, tuple(tensor.shape))
                end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
            layout.append(known[view])
        # As PyTorch's own collate function allocates shared memory.
        storage = torch.UntypedStorage._new_shared(end)
        memory = torch.empty(0, dtype=torch.uint8).set_(storage)
        for target, tensor in zip(_views(memory, layout), self, strict=True):
            target.copy_(tensor)
        return _unpickle, (memory, layout)


def collate_to_shared_memory(samples: Sequence[Sample]) -> SharedMemoryBatch:
    """`collate` for loader processes: the batch it returns is sent as one block of memory."""
    return SharedMemoryBatch(*collate(samples))


def _unpickle(memory: Tensor, layout: Layout) -> Sample:
    return Sample(*_views(memory, layout))


def _views(memory: Tensor, layout: Layout) -> list[Tensor]:
    """The tensors that lie in a block of memory."""
    return [
        memory[first : first + size].view(dtype).view(shape) for first, size, dtype, shape in layout
    ]
