"""The order in which samples are read, and how processes share them.

Training, data in memory: all windows are shuffled, and the processes share each batch, so that any
number of processes takes the same steps.

Training, data in a file: windows are shuffled within blocks of trajectories, so that every chunk is
read and decoded once. The trajectories come in random order, a block has as many of them as the
chunk cache holds, and the windows of a block are shuffled. In every epoch each process takes whole
trajectories of its own, and each loader process whole blocks.

Evaluation: every sample exactly once and in order, for any number of processes, with the same
number of batches in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DistributedSampler, Sampler

from fields.core.distributed import rank_and_size
from fields.data.dataset import FieldDataset
from fields.io.base import DataError
from fields.io.handles import MAX_OPEN
from fields.io.hdf5 import CHUNK_CACHE

# Bytes per array in a block: all chunks that a block needs stay in the cache.
BLOCK_BYTES = CHUNK_CACHE // 2


class TrainSampler(DistributedSampler[int]):
    """A random order that depends on (seed, epoch), so that a resumed run continues unchanged.

    It is a `DistributedSampler` so that Lightning sets its epoch and does not replace it by one.

    Args:
        data: what to read.
        seed: of the order.
        batch_size: of the loader.
        workers: loader processes; batch k is read by worker k mod ``workers``.

    Raises:
        DataError: there are more processes than trajectories in a file that is read window by
            window.

    Example:
        >>> from fields.data.schema import schema_of
        >>> import xarray as xr
        >>> a, u = ((("sample", "x"), np.zeros((4, 2)), {"role": r}) for r in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0]})
        >>> order = TrainSampler(FieldDataset(ds, schema_of(ds)), seed=0, batch_size=2)
        >>> sorted(order)
        [0, 1, 2, 3]
    """

    def __init__(self, data: FieldDataset, *, seed: int, batch_size: int, workers: int = 0):
        super().__init__(data, num_replicas=1, rank=0, seed=seed)
        self.data = data
        self.batch_size = batch_size
        self.workers = workers

    def __len__(self) -> int:
        """Windows per process and epoch, the same for every process.

        If they cannot be shared evenly a few windows are repeated (or, read from a file, omitted).
        """
        return -(-len(self.data) // rank_and_size()[1])

    def __iter__(self) -> Iterator[int]:
        self.data.epoch.fill_(self.epoch)
        return iter(self._in_memory() if self.data.in_memory else self._from_file())

    def _in_memory(self) -> list[int]:
        """This process's share of a random permutation of all windows."""
        rank, ranks = rank_and_size()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.data), generator=generator).tolist()
        return split_among_ranks(order, self.batch_size, ranks)[rank]

    def _from_file(self) -> list[int]:
        """The windows of this process's trajectories, shuffled block by block."""
        rank, ranks = rank_and_size()
        random = np.random.default_rng((self.seed, self.epoch))
        own = np.array_split(shuffled_trajectories(self.data, random), ranks)[rank]
        if not len(own):
            raise DataError(
                f"{ranks} processes cannot share {len(self.data.indices)} trajectories: each needs "
                f"at least one. Start at most {len(self.data.indices)} processes."
            )
        blocks = [random.permutation(block) for block in cache_blocks(self.data, own)]
        workers = self.workers or 1
        streams = [
            np.concatenate(blocks[worker::workers]) for worker in range(min(workers, len(blocks)))
        ]
        # Cut, or started again, to the length that all processes have in common.
        return np.resize(interleave(streams, self.batch_size), len(self)).tolist()


class EvalSampler(DistributedSampler[int]):
    """This process's part of all samples, in order.

    The parts of all processes, one after the other, are all samples in order, each once.

    Raises:
        DataError: there are more processes than samples.

    Example:
        >>> from fields.data.schema import schema_of
        >>> import xarray as xr
        >>> a, u = ((("sample", "x"), np.zeros((4, 2)), {"role": r}) for r in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0]})
        >>> list(EvalSampler(FieldDataset(ds, schema_of(ds))))
        [0, 1, 2, 3]
    """

    def __init__(self, data: FieldDataset):
        super().__init__(data, num_replicas=1, rank=0, shuffle=False)
        rank, ranks = rank_and_size()
        if 0 < len(data) < ranks:
            raise DataError(
                f"{ranks} processes cannot share {len(data)} test samples: each needs at least "
                f"one. Start at most {len(data)} processes."
            )
        self.part = range(len(data) * rank // ranks, len(data) * (rank + 1) // ranks)

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self) -> Iterator[int]:
        return iter(self.part)


class EvalBatchSampler(Sampler[list[int]]):
    """Evaluation batches of nearly equal size, the same number of them in every process.

    Equal numbers matter because models may communicate in every batch.

    Args:
        sampler: this process's part of the samples.
        samples: number of samples of all parts together.
        batch_size: at most this many samples, but at least two: parts that differ by one sample
            then have the same number of batches.

    Example:
        >>> from fields.data.schema import schema_of
        >>> import xarray as xr
        >>> a, u = ((("sample", "x"), np.zeros((6, 2)), {"role": r}) for r in ("input", "output"))
        >>> ds = xr.Dataset({"a": a, "u": u}, coords={"x": [0.0, 1.0]})
        >>> sampler = EvalSampler(FieldDataset(ds, schema_of(ds)))
        >>> list(EvalBatchSampler(sampler, samples=6, batch_size=4))
        [[0, 1, 2], [3, 4, 5]]
    """

    def __init__(self, sampler: EvalSampler, *, samples: int, batch_size: int):
        longest = -(-samples // rank_and_size()[1])
        self.sampler = sampler
        self.batches = -(-longest // max(batch_size, 2))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        if self.batches:
            for part in np.array_split(np.array(self.sampler.part), self.batches):
                yield part.tolist()


def split_among_ranks(order: Sequence[int], batch_size: int, ranks: int) -> list[list[int]]:
    """An order split among processes, so that their k-th batches together are one large batch.

    The large batches have ``ranks * batch_size`` items and are consecutive in ``order``. If the
    last one cannot be split evenly, it is filled up with items from its beginning.

    Example:
        >>> split_among_ranks(range(6), 2, 2)
        [[0, 1, 4], [2, 3, 5]]
    """
    parts: list[list[int]] = [[] for _ in range(ranks)]
    for start in range(0, len(order), batch_size * ranks):
        batch = order[start : start + batch_size * ranks]
        even = np.resize(batch, -(-len(batch) // ranks) * ranks).reshape(ranks, -1)
        for part, items in zip(parts, even, strict=True):
            part += items.tolist()
    return parts


def shuffled_trajectories(data: FieldDataset, random: np.random.Generator) -> np.ndarray:
    """All trajectories in random order, those that share a chunk next to each other."""
    chunks = data.indices // data.storage().chunk_samples
    return np.concatenate(
        [np.flatnonzero(chunks == chunk) for chunk in random.permutation(np.unique(chunks))]
    )


def cache_blocks(data: FieldDataset, samples: np.ndarray) -> list[np.ndarray]:
    """Items of these trajectories in blocks whose chunks fit into the chunk cache together.

    A block is several trajectories or, if a trajectory does not fit, a range of frames of those
    that share a chunk.
    """
    stored = data.storage()
    chunks = data.indices[samples] // stored.chunk_samples
    groups = np.split(samples, np.flatnonzero(np.diff(chunks)) + 1)
    frame_bytes = stored.chunk_samples * stored.frame_bytes
    most_open = MAX_OPEN // (2 * stored.arrays) if stored.concatenated else len(groups)
    at_once = min(BLOCK_BYTES // (frame_bytes * data.frames), most_open)
    if at_once >= 1:
        merged = [np.concatenate(groups[i : i + at_once]) for i in range(0, len(groups), at_once)]
        blocks = [_items(data, group) for group in merged]
        return [items for items in blocks if len(items)]
    frames = max(BLOCK_BYTES // (frame_bytes * stored.chunk_frames), 1) * stored.chunk_frames
    blocks = []
    for group in groups:
        items = _items(data, group)
        first = np.array([data.locate(int(item))[1] for item in items])
        blocks += [items[first // frames == number] for number in np.unique(first // frames)]
    return blocks


def interleave(streams: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """One order whose batches come from the streams in turn; items that fill no batch come last.

    Example:
        >>> interleave([np.arange(5), np.arange(10, 14)], 2).tolist()
        [0, 1, 10, 11, 2, 3, 12, 13, 4]
    """
    whole = [
        stream[: len(stream) // batch_size * batch_size].reshape(-1, batch_size)
        for stream in streams
    ]
    rest = [
        stream[len(batches) * batch_size :] for stream, batches in zip(streams, whole, strict=True)
    ]
    longest = max(map(len, whole))
    turns = [batches[turn] for turn in range(longest) for batches in whole if turn < len(batches)]
    return np.concatenate([*turns, *rest])


def _items(data: FieldDataset, samples: np.ndarray) -> np.ndarray:
    return np.concatenate([data.items_of(sample) for sample in samples])
