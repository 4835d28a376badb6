"""Gain of a second loader process, compared with that of a second bare h5py process.

Run by `benchmarks.io`. The file has PDEBench's layout, is compressed frame by frame (gzip) and
larger than the chunk caches, so every frame is decompressed once per epoch. The bare processes read
the same windows with h5py only, batch k by process k mod n, and transfer nothing. Their gain is the
upper bound that the machine allows: two hyperthreads of one core give less than two cores.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from torch.utils.data import DataLoader

from fields.data import FieldDataset, schema_of
from fields.data.samplers import TrainSampler
from fields.data.transfer import SharedMemoryBatch, collate_to_shared_memory
from fields.io import open_dataset
from fields.io.hdf5 import CHUNK_CACHE

WINDOW = 5
BATCH = 8
ROUNDS = 3


class Timed(NamedTuple):
    """A loader's batch, the process that made it, and the CPU time of that process so far."""

    process: int
    seconds: float
    batch: SharedMemoryBatch


class Epoch(NamedTuple):
    """Seconds of one epoch: wall time, CPU time of the busiest reader and of the receiver."""

    wall: float
    busiest: float
    main: float = 0.0


def timed(samples: list[Any]) -> Timed:
    """Collates the samples and records the process and its CPU time."""
    return Timed(os.getpid(), time.process_time(), collate_to_shared_memory(samples))


def windows_of(path: Path) -> FieldDataset:
    """All windows of the file without overlap, read on demand."""
    ds = open_dataset(path)
    return FieldDataset(ds, schema_of(ds, history=WINDOW - 1), window_stride=WINDOW, memory_limit=0)


def loaded(path: Path, workers: int) -> Callable[[], Epoch]:
    """A function that runs an epoch of `FieldDataset` with loader processes that persist."""
    data = windows_of(path)
    order = TrainSampler(data, seed=0, batch_size=BATCH, workers=workers)
    loader = DataLoader(
        data, BATCH, sampler=order, num_workers=workers, persistent_workers=True, collate_fn=timed
    )
    used = {made.process: made.seconds for made in loader}

    def epoch() -> Epoch:
        begin = time.perf_counter()
        own = time.process_time()
        now = {made.process: made.seconds for made in loader}
        wall = time.perf_counter() - begin
        own = time.process_time() - own
        busiest = max(seconds - used[process] for process, seconds in now.items())
        used.update(now)
        return Epoch(wall, busiest, own)

    return epoch


def bare(path: Path, processes: int) -> Callable[[], Epoch]:
    """A function that reads the same windows in the same order with h5py only."""
    data = windows_of(path)
    order = [
        data.locate(item)
        for item in TrainSampler(data, seed=0, batch_size=BATCH, workers=processes)
    ]
    batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    context = multiprocessing.get_context("fork")

    def epoch() -> Epoch:
        start = context.Barrier(processes + 1)
        answers = context.Queue()
        shares = [
            list(chain.from_iterable(batches[number::processes])) for number in range(processes)
        ]
        readers = [
            context.Process(target=_read, args=(path, share, start, answers)) for share in shares
        ]
        for reader in readers:
            reader.start()
        start.wait()
        begin = time.perf_counter()
        used = [answers.get() for _ in readers]
        wall = time.perf_counter() - begin
        for reader in readers:
            reader.join()
        return Epoch(wall, max(used))

    return epoch


def _read(path: Path, windows: list[tuple[int, int]], start: Any, answers: Any) -> None:
    with h5py.File(path, rdcc_nbytes=CHUNK_CACHE) as file:
        tensor = file["tensor"]
        assert isinstance(tensor, h5py.Dataset)
        start.wait()
        begin = time.process_time()
        for sample, first in windows:
            tensor[sample, first : first + WINDOW]
        answers.put(time.process_time() - begin)


def compare_workers(path: Path) -> str:
    """A table of medians over alternating rounds, and the gain relative to the bare processes."""
    runs = {
        (kind, n): make(path, n)
        for kind, make in (("loader", loaded), ("bare h5py", bare))
        for n in (1, 2)
    }
    seen: dict[tuple[str, int], list[Epoch]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            seen[key].append(run())
    middle = {key: Epoch(*np.median(np.array(epochs), axis=0)) for key, epochs in seen.items()}
    data = windows_of(path)
    small = data.nbytes <= 2 * CHUNK_CACHE
    remark = " (TOO SMALL: two readers' chunk caches hold all of it)" if small else ""
    lines = [
        f"an epoch of {len(data)} windows, {data.nbytes / 1e6:.0f} MB{remark}, gzip by frame, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; seconds",
        f"{'':14s}{'one':>8s}{'two':>8s}{'ratio':>8s}   "
        "CPU time of the busiest reader: one, two, ratio; of the receiver: one, two",
    ]
    for kind in ("loader", "bare h5py"):
        one = middle[kind, 1]
        two = middle[kind, 2]
        lines.append(
            f"{kind:14s}{one.wall:8.2f}{two.wall:8.2f}{one.wall / two.wall:8.2f}   "
            f"{one.busiest:.2f}, {two.busiest:.2f}, {one.busiest / two.busiest:.2f}; "
            f"{one.main:.2f}, {two.main:.2f}"
        )
    gain, most = (middle[kind, 1].wall / middle[kind, 2].wall for kind in ("loader", "bare h5py"))
    lines.append(
        f"two loader processes are {gain:.2f} times as fast as one, "
        f"{gain / most:.2f} of the gain of two bare processes"
    )
    return "\n".join(lines)
