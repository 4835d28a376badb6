"""Splits, statistics and loaders around an opened file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import numpy as np
import xarray as xr
from torch.utils.data import DataLoader

from fields.core.distributed import broadcast, rank_and_size
from fields.core.memory_limits import available
from fields.core.sample import Sample, Schema, collate
from fields.data.dataset import FieldDataset
from fields.data.samplers import EvalSampler, EvenBatchSampler, TrainSampler
from fields.data.scaling import Scaling, Statistics
from fields.data.schema import schema_of
from fields.data.splits import dataset_statistics, split_indices
from fields.data.statistics_cache import cached_statistics
from fields.data.transfer import collate_to_shared_memory
from fields.io import open_dataset

log = logging.getLogger(__name__)


class FieldDataModule(L.LightningDataModule):
    """Training, validation and test data of one problem.

    Data that fit into memory are read once and kept, others are read from the file batch by batch;
    the log says which. Under torchrun the processes share each batch (of data read from a file:
    each takes trajectories of its own), and tests, so that every sample counts once.

    Args:
        path: the file to train on, of any layout that ``fields.open_dataset`` reads.
        test_paths: further files to test on; empty for the test split of ``path``.
        mapping: YAML file that names the arrays of files of unknown layout.
        stride: train on every stride-th grid point of the file.
        test_strides: test on these strides of the test data, each a resolution of its own.
        batch_size: samples per step and process.
        validation, test: shares taken at random (``seed``) if the file records no split.
        samples: use only so many training samples.
        history, horizon: given and wanted frames of evolution problems, in training; validation and
            tests roll out the whole trajectory from its first frames.
        time_stride: frames of the file from one of a window to the next.
        window_stride: frames from the beginning of one training window to that of the next.
        sensors: give the input at so many random points of each sample instead of all.
        scalings: by variable, how its values are brought to order one;
            :class:`fields.data.scaling.Standard` for the others.
        workers: loader processes; 0 reads in the training process, best for data held in memory.
        start_method: of the loader processes; None for the system's own.
        memory: bytes that each part (training, validation, a test) may take; by default half of
            what is free when it is opened.
        seed: of the random split, of the order of samples and of the sensors.
    """

    def __init__(
        self,
        path: str,
        *,
        test_paths: Sequence[str] = (),
        mapping: str | None = None,
        stride: int = 1,
        test_strides: Sequence[int] = (1,),
        batch_size: int = 32,
        validation: float = 0.05,
        test: float = 0.1,
        samples: int | None = None,
        history: int = 1,
        horizon: int = 1,
        time_stride: int = 1,
        window_stride: int = 1,
        sensors: int | None = None,
        scalings: dict[str, Scaling] | None = None,
        workers: int = 0,
        start_method: Literal["fork", "spawn", "forkserver"] | None = None,
        memory: float | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.path, self.test_paths, self.stride, self.test_strides = (
            path,
            tuple(test_paths),
            stride,
            tuple(test_strides),
        )
        self.batch_size, self.shares, self.samples = (
            batch_size,
            (validation, 0.0 if test_paths else test),
            samples,
        )
        self.history, self.horizon, self.workers, self.seed = history, horizon, workers, seed
        self.time_stride, self.window_stride, self.sensors = time_stride, window_stride, sensors
        self.mapping, self.scalings, self.start_method, self.memory = (
            mapping,
            scalings or {},
            start_method,
            memory,
        )
        self.schema: Schema | None = None

    def setup(self, stage: str | None = None) -> None:
        """Opens the files, splits them, computes the statistics of the training split; once."""
        if self.schema is not None:
            return
        ds = open_dataset(self.path, mapping=self.mapping)
        self.source, self.symmetries = ds, json.loads(ds.attrs.get("symmetries", "[]"))
        self.schema = schema_of(
            ds, stride=self.stride, history=self.history, time_stride=self.time_stride
        )
        if self.sensors is not None:
            self.schema = replace(self.schema, grid=None)
        split = split_indices(ds, validation=self.shares[0], test=self.shares[1], seed=self.seed)
        free = available()
        chosen = split["train"][: self.samples]
        self.train = self._data(ds, chosen, self.stride, self.horizon, self.window_stride)
        self.val = self._data(ds, split["validation"], self.stride)
        tests = {path: open_dataset(path, mapping=self.mapping) for path in self.test_paths} or {
            self.path: ds
        }
        self.tests = {}
        for path, source in tests.items():
            for stride in self.test_strides:
                data = self._data(source, None if self.test_paths else split["test"], stride)
                self.tests[resolution_name(source, data.schema, stride, path)] = data
        self.statistics = self._statistics(chosen)
        if rank_and_size()[0] == 0:
            log.info(
                "%s, with %s free: %s.", self.path, format_bytes(free), "; ".join(self._where())
            )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Whole epochs in an order that depends on seed and epoch alone."""
        order = TrainSampler(
            self.train, seed=self.seed, batch_size=self.batch_size, workers=self.workers
        )
        return self._loader(self.train, batch_size=self.batch_size, sampler=order)

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation split at the training resolution."""
        return self._test_loader(self.val)

    def test_dataloader(self) -> list[DataLoader[Sample]]:
        """One loader per test resolution, in the order of ``tests``."""
        return [self._test_loader(data) for data in self.tests.values()]

    def _data(
        self,
        ds: xr.Dataset,
        indices: np.ndarray | None,
        stride: int,
        horizon: int | None = None,
        window_stride: int = 1,
    ) -> FieldDataset:
        assert self.schema is not None
        return FieldDataset(
            ds,
            self.schema,
            indices=indices,
            stride=stride,
            horizon=horizon,
            time_stride=self.time_stride,
            window_stride=window_stride,
            sensors=self.sensors,
            seed=self.seed,
            memory_limit=self.memory,
        )

    def _statistics(self, samples: np.ndarray) -> dict[str, Statistics]:
        """Computed by one process for all, and kept beside the file."""
        assert self.schema is not None
        names = (self.schema.inputs, self.schema.outputs, self.schema.params)
        selection = [names, samples, self.stride, self.mapping and Path(self.mapping).read_text()]
        known: Any = None
        if rank_and_size()[0] == 0:
            known = cached_statistics(
                Path(self.path),
                selection,
                self.scalings,
                lambda: dataset_statistics(self.train, self.scalings),
            )
        return broadcast(known)

    def _where(self) -> list[str]:
        """What is kept in memory and what is read from its file, with sizes."""
        parts = {"training": self.train, "validation": self.val} | {
            f"test {name}": data for name, data in self.tests.items()
        }
        return [
            f"{n} {format_bytes(d.nbytes)} {'held in memory' if d.in_memory else 'streamed from the file'}"
            for n, d in parts.items()
        ]

    def _test_loader(self, data: FieldDataset) -> DataLoader[Any]:
        batches = EvenBatchSampler(EvalSampler(data), samples=len(data), batch_size=self.batch_size)
        return self._loader(data, batch_sampler=batches)

    def _loader(self, data: FieldDataset, **order: Any) -> DataLoader[Any]:
        return DataLoader(
            data,
            **order,
            collate_fn=collate_to_shared_memory if self.workers else collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            multiprocessing_context=self.start_method if self.workers else None,
        )


def format_bytes(count: float) -> str:
    """Bytes for people: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def resolution_name(ds: xr.Dataset, schema: Schema, stride: int, path: str) -> str:
    """``64x64`` for grids, the file's name for scattered points."""
    if "point" in ds.dims:
        return Path(path).stem
    return "x".join(str(-(-ds.sizes[axis] // stride)) for axis in schema.coords)
