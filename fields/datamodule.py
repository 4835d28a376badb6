"""Splits, statistics and loaders around an opened file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader, Sampler

from fields.data import FieldDataset, schema_of, split_indices, statistics
from fields.io import open_dataset
from fields.sample import Sample, Schema, collate


class FieldDataModule(L.LightningDataModule):
    """Training, validation and test data of one problem.

    Args:
        path: the file to train on, of any layout that ``fields.open_dataset`` reads.
        test_paths: further files to test on; empty for the test split of ``path``.
        stride: train on every stride-th grid point of the file.
        test_strides: test on these strides of the test data, each a resolution of its own.
        batch_size: samples per step.
        validation, test: shares taken at random (``seed``) if the file records no split.
        samples: use only so many training samples.
        history, horizon: given and wanted frames of evolution problems, in training; validation and tests roll out the whole
            trajectory from its first frames.
        workers: loader processes; 0 reads in the training process, best for data held in memory.
        seed: of the random split and of the order of samples.
    """

    def __init__(
        self,
        path: str,
        *,
        test_paths: Sequence[str] = (),
        stride: int = 1,
        test_strides: Sequence[int] = (1,),
        batch_size: int = 32,
        validation: float = 0.05,
        test: float = 0.1,
        samples: int | None = None,
        history: int = 1,
        horizon: int = 1,
        workers: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        self.path, self.test_paths, self.stride, self.test_strides = path, tuple(test_paths), stride, tuple(test_strides)
        self.batch_size, self.shares, self.samples = batch_size, (validation, 0.0 if test_paths else test), samples
        self.history, self.horizon, self.workers, self.seed = history, horizon, workers, seed
        self.schema: Schema | None = None

    def setup(self, stage: str | None = None) -> None:
        """Opens the files, splits them, computes the statistics of the training split; once."""
        if self.schema is not None:
            return
        ds = open_dataset(self.path)
        self.source, self.symmetries = ds, json.loads(ds.attrs.get("symmetries", "[]"))
        self.schema = schema_of(ds, stride=self.stride, history=self.history)
        split = split_indices(ds, validation=self.shares[0], test=self.shares[1], seed=self.seed)
        self.train = self._data(ds, split["train"][: self.samples], self.stride, self.horizon)
        self.val = self._data(ds, split["validation"], self.stride)
        tests = {path: open_dataset(path) for path in self.test_paths} or {self.path: ds}
        chosen = None if self.test_paths else split["test"]
        self.tests = {}
        for path, source in tests.items():
            for stride in self.test_strides:
                data = self._data(source, chosen, stride)
                self.tests[resolution_name(source, data.schema, stride, path)] = data
        self.statistics = statistics(self.train)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Whole epochs in an order that depends on seed and epoch alone."""
        order = EpochShuffle(len(self.train), self.seed, self)
        return self._loader(self.train, sampler=order)

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation split at the training resolution."""
        return self._loader(self.val)

    def test_dataloader(self) -> list[DataLoader[Sample]]:
        """One loader per test resolution, in the order of ``tests``."""
        return [self._loader(data) for data in self.tests.values()]

    def _data(self, ds: xr.Dataset, indices: np.ndarray | None, stride: int, horizon: int | None = None) -> FieldDataset:
        assert self.schema is not None
        return FieldDataset(ds, self.schema, indices=indices, stride=stride, horizon=horizon)

    def _loader(self, data: FieldDataset, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class EpochShuffle(Sampler[int]):
    """A permutation drawn from (seed, epoch), so that a resumed run sees the samples in the order of an uninterrupted one."""

    def __init__(self, length: int, seed: int, owner: L.LightningDataModule):
        self.length, self.seed, self.owner = length, seed, owner

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        epoch = self.owner.trainer.current_epoch if self.owner.trainer is not None else 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return iter(torch.randperm(self.length, generator=generator).tolist())


def resolution_name(ds: xr.Dataset, schema: Schema, stride: int, path: str) -> str:
    """``64x64`` for grids, the file's name for scattered points."""
    if schema.grid is None:
        return Path(path).stem
    return "x".join(str(-(-ds.sizes[axis] // stride)) for axis in schema.coords)
