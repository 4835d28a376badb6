"""In which order samples are read: at random but with neighbors together, shared among processes.

Training: data held in memory are shuffled freely, and the processes share each batch, so that any
number of them makes the same steps. Data read from a file are shuffled by blocks, so that a chunk
is read and decoded once: trajectories in random order, as many as the chunk cache holds at a time,
their windows shuffled; every process takes whole trajectories of its own, others in every epoch,
and every loader process blocks of its own. Tests: every sample exactly once, in order, for any
number of processes, in as many batches in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DistributedSampler, Sampler

from fields.core.distributed import rank_and_size
from fields.data.dataset import FieldDataset
from fields.io.base import DataError
from fields.io.handles import CHUNK_CACHE, MAX_OPEN

BLOCK = CHUNK_CACHE // 2  # bytes per array: all chunks that a block needs stay in the cache


class TrainSampler(DistributedSampler[int]):
    """A random order drawn from (seed, epoch), so that a resumed run sees the samples as an uninterrupted one would.

    Is a `DistributedSampler` so that Lightning tells it the epoch and puts no other in its place.

    Args:
        data: what to read.
        seed: of the order.
        batch_size, workers: of the loader: batch k is read by worker k mod ``workers``.
    """

    def __init__(self, data: FieldDataset, *, seed: int, batch_size: int, workers: int = 0):
        super().__init__(data, num_replicas=1, rank=0, seed=seed)
        self.data, self.batch_size, self.workers = data, batch_size, workers

    def __len__(self) -> int:
        """The same for every process; a few windows are seen twice, or left out where they are read from a file."""
        return -(-len(self.data) // rank_and_size()[1])

    def __iter__(self) -> Iterator[int]:
        self.data.epoch.fill_(self.epoch)
        rank, ranks = rank_and_size()
        if self.data.in_memory:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            return iter(
                split_among_ranks(
                    torch.randperm(len(self.data), generator=generator).tolist(),
                    self.batch_size,
                    ranks,
                )[rank]
            )
        random = np.random.default_rng((self.seed, self.epoch))
        own = np.array_split(shuffled_trajectories(self.data, random), ranks)[rank]
        if not len(own):
            raise DataError(
                f"{ranks} processes share {len(self.data.indices)} trajectories; there must be one for each."
            )
        read = [random.permutation(block) for block in cache_blocks(self.data, own)]
        streams = [
            np.concatenate(read[w :: self.workers or 1])
            for w in range(min(self.workers or 1, len(read)))
        ]
        order = interleave(streams, self.batch_size)
        return iter(
            np.resize(order, len(self)).tolist()
        )  # cut, or begun again, to the common length


class EvalSampler(DistributedSampler[int]):
    """This process's part of all samples: joined in the order of processes, the parts are all samples in order, each once."""

    __test__ = False  # no test, whatever pytest thinks of its name

    def __init__(self, data: FieldDataset):
        super().__init__(data, num_replicas=1, rank=0, shuffle=False)
        rank, ranks = rank_and_size()
        if 0 < len(data) < ranks:
            raise DataError(
                f"{ranks} processes cannot share {len(data)} test samples. Use at most {len(data)}."
            )
        self.part = range(len(data) * rank // ranks, len(data) * (rank + 1) // ranks)

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self) -> Iterator[int]:
        return iter(self.part)


class EvenBatchSampler(Sampler[list[int]]):
    """A test's samples in batches of nearly the same size, as many in every process: models may talk to each other in each.

    Args:
        order: this process's part.
        samples: of all parts together.
        batch_size: at most; two where it is one, so that parts which differ by a sample do not
            differ by a batch.
    """

    def __init__(self, order: EvalSampler, *, samples: int, batch_size: int):
        longest = -(-samples // rank_and_size()[1])
        self.order, self.batches = order, -(-longest // max(batch_size, 2))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        return (
            (part.tolist() for part in np.array_split(np.array(self.order.part), self.batches))
            if self.batches
            else iter(())
        )


def split_among_ranks(order: Sequence[int], batch_size: int, ranks: int) -> list[list[int]]:
    """An order cut among processes: together, their k-th batches are the k-th batch of ``ranks`` times the size.

    The last one is filled up from its beginning where it cannot be cut evenly.
    """
    out: list[list[int]] = [[] for _ in range(ranks)]
    for start in range(0, len(order), batch_size * ranks):
        batch = order[start : start + batch_size * ranks]
        for part, items in zip(
            out, np.resize(batch, -(-len(batch) // ranks) * ranks).reshape(ranks, -1), strict=True
        ):
            part += items.tolist()
    return out


def shuffled_trajectories(data: FieldDataset, random: np.random.Generator) -> np.ndarray:
    """All trajectories in random order, those that share a chunk next to each other."""
    groups = data.indices // data.storage().samples
    return np.concatenate(
        [np.flatnonzero(groups == group) for group in random.permutation(np.unique(groups))]
    )


def cache_blocks(data: FieldDataset, samples: np.ndarray) -> list[np.ndarray]:
    """Items of these trajectories, grouped so that the chunks of a group fit into the cache together."""
    stored = data.storage()
    groups = data.indices[samples] // stored.samples
    alone = np.split(samples, np.flatnonzero(np.diff(groups)) + 1)
    size = stored.samples * stored.frame_bytes
    together = min(
        BLOCK // (size * data.frames),
        MAX_OPEN // (2 * stored.arrays) if stored.joined else len(alone),
    )
    if together >= 1:
        merged = [np.concatenate(alone[i : i + together]) for i in range(0, len(alone), together)]
        return [
            items
            for group in merged
            if len(items := np.concatenate([data.items(s) for s in group]))
        ]
    run = (
        max(BLOCK // (size * stored.frames), 1) * stored.frames
    )  # frames: a part of the trajectories at a time
    result = []
    for group in alone:
        items = np.concatenate([data.items(sample) for sample in group])
        first = np.array([data.place(int(item))[1] for item in items])
        result += [items[first // run == number] for number in np.unique(first // run)]
    return result


def interleave(streams: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """One order whose batches come from the streams in turn; what fills no batch comes last."""
    whole = [
        stream[: len(stream) // batch_size * batch_size].reshape(-1, batch_size)
        for stream in streams
    ]
    rest = np.concatenate(
        [
            stream[len(batches) * batch_size :]
            for stream, batches in zip(streams, whole, strict=True)
        ]
    )
    longest = max(map(len, whole))
    turns = [batches[turn] for turn in range(longest) for batches in whole if turn < len(batches)]
    return np.concatenate([*turns, rest])
