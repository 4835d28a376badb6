"""Every chunk and every sample is read once, in an order that all processes agree on."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from torch import distributed
from torch.utils.data import DataLoader

from fields.core.sample import collate
from fields.data import FieldDataset, schema_of
from fields.data.datamodule import FieldDataModule
from fields.data.samplers import (
    EvalBatchSampler,
    EvalSampler,
    TrainSampler,
    cache_blocks,
    interleave,
    split_among_ranks,
)
from fields.io import DataError, open_dataset
from fields.metrics import RelativeL2

COUNTER = Path("/proc/self/io")


def trajectories(path: Path, *, samples=12, frames=8, n=16, chunks=(1, 8, 16)) -> Path:
    """u[i, t, x] = 1000 i + t, so that a value identifies its sample and frame."""
    values = 1000.0 * np.arange(samples)[:, None, None] + np.arange(frames)[:, None] + np.zeros(n)
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", data=values.astype("f4"), chunks=chunks)
        file["x-coordinate"] = (np.arange(n) + 0.5) / n
        file["t-coordinate"] = np.arange(frames + 1.0)
    return path


def dataset(path: Path, **options) -> FieldDataset:
    ds = open_dataset(path)
    return FieldDataset(ds, schema_of(ds), **options)


def order(data: FieldDataset, *, epoch=0, seed=0, **options) -> list[int]:
    sampler = TrainSampler(data, seed=seed, **{"batch_size": 4, **options})
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("chunks", [(1, 8, 16), (1, 1, 16), (3, 2, 16), (5, 8, 4), None])
@pytest.mark.parametrize("block", [16 * 4 * 3, 10_000])  # three frames; everything
@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_has_every_window_once_in_another_order_each_time(
    tmp_path, monkeypatch, chunks, block, workers
):
    monkeypatch.setattr("fields.data.samplers.BLOCK_BYTES", block)
    path = trajectories(tmp_path / "a.h5", chunks=chunks)
    for limit in (0, 1e9):
        data = dataset(path, horizon=2, memory_limit=limit, indices=[0, 2, 3, 5, 8, 11])
        first = order(data, workers=workers)
        second = order(data, workers=workers, epoch=1)
        assert sorted(first) == sorted(second) == list(range(len(data))) and first != second
        assert first == order(data, workers=workers) != order(data, workers=workers, seed=1)


def test_data_in_memory_are_shuffled_as_a_whole(tmp_path):
    data = dataset(trajectories(tmp_path / "a.h5"))
    generator = torch.Generator().manual_seed(3 * 1_000_003 + 2)
    assert order(data, seed=3, epoch=2) == torch.randperm(len(data), generator=generator).tolist()


def test_blocks_are_whole_trajectories_or_runs_of_frames(tmp_path, monkeypatch):
    data = dataset(trajectories(tmp_path / "a.h5", chunks=(2, 2, 16)), memory_limit=0)
    frame = 16 * 4
    for block, trajectories_, frames in ((4 * 8 * frame, 4, 8), (2 * 4 * frame, 2, 4)):
        monkeypatch.setattr("fields.data.samplers.BLOCK_BYTES", block)
        for items in cache_blocks(data, np.arange(12)):
            where = np.array([data.locate(int(item)) for item in items])
            assert len(np.unique(where[:, 0])) == trajectories_ and np.ptp(where[:, 1]) < frames
            # Samples that share a chunk stay together.
            assert len(np.unique(where[:, 0] // 2)) == trajectories_ // 2


def test_batches_of_a_worker_come_from_its_own_blocks():
    streams = [np.arange(0, 10), np.arange(100, 108), np.arange(200, 209)]
    mixed = interleave(streams, 4)
    assert sorted(mixed) == sorted(np.concatenate(streams))
    assert [int(batch[0]) // 100 for batch in mixed[:24].reshape(6, 4)] == [0, 1, 2, 0, 1, 2]
    assert {int(item) for item in mixed[24:]} == {8, 9, 208}


@pytest.mark.skipif(not COUNTER.exists(), reason="the system does not count what a process reads")
@pytest.mark.parametrize("chunks", [(1, 40, 1024), (4, 10, 1024)])
def test_chunks_are_read_once(tmp_path, monkeypatch, chunks):
    """Bytes read in an epoch of overlapping windows, divided by the size of the file."""
    path = trajectories(tmp_path / "a.h5", samples=16, frames=40, n=1024, chunks=chunks)  # 2.6 MB
    monkeypatch.setattr("fields.io.hdf5.CHUNK_CACHE", 2**20)
    monkeypatch.setattr("fields.data.samplers.BLOCK_BYTES", 2**19)

    def read_by(items) -> float:
        data = dataset(path, memory_limit=0, horizon=4)
        data[0]
        before = int(COUNTER.read_text().split("rchar:")[1].split()[0])
        for item in items(data):
            data[item]
        return (
            int(COUNTER.read_text().split("rchar:")[1].split()[0]) - before
        ) / path.stat().st_size

    scattered = read_by(lambda data: np.random.default_rng(0).permutation(len(data)).tolist())
    assert read_by(order) < 1.3 < 4 < scattered


def numbers(loader: DataLoader) -> np.ndarray:
    """Which window each sample of an epoch is: 1000 × trajectory + first frame."""
    return np.concatenate([batch.u[:, 0, 0].numpy() for batch in loader]).astype(int)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_what_one_process_reads(tmp_path, method):
    path = trajectories(tmp_path / "a.h5")
    epochs = {}
    for workers in (0, 2):
        data = FieldDataModule(
            str(path), workers=workers, start_method=method, memory=0, batch_size=5
        )
        data.setup()
        data.train[0]  # the file is open here before the workers start
        loader = data.train_dataloader()
        epochs[workers] = [numbers(loader), numbers(loader)]
    wanted = sorted(
        1000 * data.train.indices[s] + t for s in range(len(data.train.indices)) for t in range(7)
    )
    for epoch in (*epochs[0], *epochs[2]):
        assert sorted(epoch) == wanted


def one_of_two(rank: int, folder: str, port: int) -> None:
    """Writes what one of two processes computes to a file of its own."""
    torch.set_num_threads(1)  # threads do not survive a fork
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    result: dict[str, object] = {}
    for memory in (0.0, 1e9):
        data = FieldDataModule(
            f"{folder}/a.h5", memory=memory, batch_size=4, validation=0.2, test=0.2
        )
        data.setup()
        result[f"statistics {memory}"] = {name: s[:4] for name, s in data.statistics.items()}
        loader = data.train_dataloader()
        result[f"train {memory}"] = numbers(loader)
        result[f"batches {memory}"] = len(list(loader))
        [test] = data.test_dataloader()
        metric = RelativeL2()
        for batch in test:
            metric.update(
                batch.v + batch.v.mean(dim=(1, 2, 3), keepdim=True) * torch.rand(1),
                batch.v,
                batch.y_mask,
            )
        with metric.sync_context():
            result[f"errors {memory}"] = metric.per_sample()
        result[f"own {memory}"] = sum(len(batch) for batch in test.batch_sampler)
        result[f"tests {memory}"] = len(next(iter(data.tests.values())))
    torch.save(result, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_share_the_work(tmp_path):
    """Disjoint trajectories, equally many batches, every test sample once, equal statistics."""
    trajectories(tmp_path / "a.h5", samples=11)  # 7 to train, 2 to validate, 2 to test
    port = 29_000 + hash(str(tmp_path)) % 2000
    # Spawned processes would have to import torch again.
    processes.start_processes(one_of_two, (str(tmp_path), port), nprocs=2, start_method="fork")
    a, b = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    for memory in (0.0, 1e9):
        assert (
            a[f"batches {memory}"] == b[f"batches {memory}"]
            and len(a[f"train {memory}"]) == len(b[f"train {memory}"]) == 25
        )
        mine, yours = (
            {int(n) // (1000 if memory == 0 else 1) for n in part[f"train {memory}"]}
            for part in (a, b)
        )
        assert (
            (mine.isdisjoint(yours) and len(mine | yours) == 7)
            if memory == 0
            else len(mine | yours) == 49
        )
        assert (
            a[f"own {memory}"] + b[f"own {memory}"]
            == a[f"tests {memory}"]
            == len(a[f"errors {memory}"])
        )
        assert a[f"own {memory}"] > 0 and torch.equal(a[f"errors {memory}"], b[f"errors {memory}"])
        assert a[f"statistics {memory}"] == b[f"statistics {memory}"]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7])
def test_evaluation_has_every_sample_once_and_in_order_for_any_number_of_processes(
    tmp_path, monkeypatch, ranks
):
    data = dataset(trajectories(tmp_path / "a.h5", samples=1))
    seen = []
    for rank in range(ranks):
        monkeypatch.setattr("fields.data.samplers.rank_and_size", lambda rank=rank: (rank, ranks))
        seen += list(EvalSampler(data))
    assert seen == list(range(7))
    monkeypatch.setattr("fields.data.samplers.rank_and_size", lambda: (0, 8))
    with pytest.raises(DataError, match="at most 7"):
        EvalSampler(data)


@pytest.mark.parametrize(
    ("samples", "batch_size", "ranks"), [(24, 4, 2), (23, 4, 2), (7, 2, 3), (5, 1, 4), (1, 3, 2)]
)
def test_batches_of_all_processes_together_are_the_large_batches(samples, batch_size, ranks):
    """The k-th batches of all processes are the k-th batch of one with ``ranks`` times the size."""
    parts = split_among_ranks(list(range(samples)), batch_size, ranks)
    assert {len(part) for part in parts} == {-(-samples // ranks)}
    for start in range(0, samples, batch_size * ranks):
        here = start // ranks
        joined = list(itertools.chain(*(part[here : here + batch_size] for part in parts)))
        wanted = list(range(start, min(start + batch_size * ranks, samples)))
        assert joined[: len(wanted)] == wanted and len(joined) < len(wanted) + ranks


@pytest.mark.parametrize(
    ("samples", "batch_size", "ranks"),
    [(7, 3, 2), (5, 1, 2), (3, 1, 2), (2, 4, 2), (9, 2, 4), (8, 32, 1)],
)
def test_evaluation_has_equally_many_batches_in_every_process(
    tmp_path, monkeypatch, samples, batch_size, ranks
):
    data = dataset(trajectories(tmp_path / "a.h5", samples=1, frames=samples + 1, chunks=None))
    seen = []
    for rank in range(ranks):
        monkeypatch.setattr("fields.data.samplers.rank_and_size", lambda rank=rank: (rank, ranks))
        batches = EvalBatchSampler(EvalSampler(data), samples=len(data), batch_size=batch_size)
        seen.append(list(batches))
        assert len(seen[-1]) == len(batches) and all(
            0 < len(batch) <= max(batch_size, 2) for batch in seen[-1]
        )
    assert len({len(batches) for batches in seen}) == 1
    assert [item for batches in seen for batch in batches for item in batch] == list(range(samples))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_training_shares_of_a_file_are_equal_and_disjoint(tmp_path, monkeypatch, ranks):
    data = dataset(trajectories(tmp_path / "a.h5", samples=12), memory_limit=0)
    shares = []
    for rank in range(ranks):
        monkeypatch.setattr("fields.data.samplers.rank_and_size", lambda rank=rank: (rank, ranks))
        shares.append(order(data))
        assert len(TrainSampler(data, seed=0, batch_size=4)) == len(shares[-1])
    assert sorted(itertools.chain(*shares)) == list(range(len(data)))
    assert collate([data[i] for i in shares[0][:3]]).u.shape == (3, 16, 1)
    assert all(len({data.locate(i)[0] for i in share}) == 12 // ranks for share in shares)
