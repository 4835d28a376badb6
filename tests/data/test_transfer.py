"""Batches are sent from one process to another in one block of memory, unchanged."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

import torch
from problems import waves
from torch.utils.data import DataLoader

from fields.core.sample import Sample, collate
from fields.data import FieldDataset, schema_of
from fields.data.transfer import SharedMemoryBatch, collate_to_shared_memory


def sent(batch: Sample) -> Sample:
    """The batch after it was pickled for another process and unpickled."""
    return ForkingPickler.loads(ForkingPickler.dumps(batch))


def storages(batch: Sample) -> int:
    return len({part.untyped_storage().data_ptr() for part in batch if part.numel()})


def test_a_batch_arrives_as_the_same_sample_in_one_block():
    ds = waves(3, (6, 5), (False, True))
    for sensors in (None, 7):  # masks, empty parameters, points that are shared or not
        data = FieldDataset(ds, schema_of(ds), sensors=sensors)
        batch = collate([data[i] for i in range(3)])
        found = sent(SharedMemoryBatch(*batch))
        assert type(found) is Sample and storages(found) == 1 < storages(batch)
        for a, b in zip(found, batch, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
            assert a.dtype == b.dtype and a.storage_offset() * a.element_size() % 64 == 0
        assert (found.x.data_ptr() == found.y.data_ptr()) == (
            sensors is None
        )  # the same points are sent once


def test_a_loader_yields_batches_with_one_storage():
    ds = waves(4, (6, 5), (False, True))
    data = FieldDataset(ds, schema_of(ds))
    for batch, first in zip(
        DataLoader(data, 2, num_workers=1, collate_fn=collate_to_shared_memory), (0, 2), strict=True
    ):
        assert storages(batch) == 1
        torch.testing.assert_close(
            batch.u, collate([data[first], data[first + 1]]).u, rtol=0, atol=0
        )


def test_pickle_works_too():
    ds = waves(2, (6,), (True,))
    batch = collate([FieldDataset(ds, schema_of(ds))[i] for i in range(2)])
    found = pickle.loads(pickle.dumps(SharedMemoryBatch(*batch)))
    torch.testing.assert_close(found.v, batch.v, rtol=0, atol=0)
