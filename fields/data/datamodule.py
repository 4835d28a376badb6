"""Splits, statistics and loaders of one problem, as Lightning asks for them."""

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

from fields.core.distributed import rank_and_size
from fields.core.memory_limits import available
from fields.core.sample import Sample, Schema, collate
from fields.data.dataset import FieldDataset
from fields.data.normalizer import Normalizer
from fields.data.samplers import EvalBatchSampler, EvalSampler, TrainSampler
from fields.data.scaling import Scaling, Statistics
from fields.data.schema import schema_of
from fields.data.splits import split_indices
from fields.data.statistics import training_statistics
from fields.data.statistics_cache import fingerprint
from fields.data.transfer import collate_to_shared_memory
from fields.io import DataError, open_dataset

log = logging.getLogger(__name__)


class FieldDataModule(L.LightningDataModule):
    """Training, validation and test data of one problem.

    Data that fit into memory are read once and held, others are read from the file batch by batch;
    the log says which. Under torchrun the processes share each batch (of data read from a file,
    each takes trajectories of its own) and the test samples, so that every sample counts once.

    Args:
        path: the file to train on, of any layout that ``fields.open_dataset`` reads.
        test_paths: further files to test on; empty for the test split of ``path``.
        mapping: YAML file that names the arrays of files of unknown layout.
        stride: train on every stride-th grid point of the file.
        test_strides: test on these strides of the test data, each a resolution of its own.
        batch_size: samples per step and process.
        validation: share of the samples drawn at random (``seed``) if the file records no split.
        test: share of the samples drawn likewise.
        samples: use only this many training samples.
        history: input frames of evolution problems.
        horizon: target frames of evolution problems in training; validation and tests predict the
            whole trajectory from its first frames.
        time_stride: frames of the file from one frame of a window to the next.
        window_stride: frames of the file from the beginning of one training window to that of the
            next.
        sensors: give the input at this many random points of each sample instead of all.
        scalings: by variable, the map that brings its values to order one;
            :class:`~fields.data.scaling.Standard` for the others.
        workers: loader processes; 0 reads in the training process, which is best for data held in
            memory.
        start_method: of the loader processes; None for the default of the system.
        memory: bytes that each part (training, validation, a test) may take; by default half of
            what is free when it is opened.
        seed: of the random split, of the order of samples and of the sensors.

    Raises:
        DataError: a count is not positive, a share not between 0 and 1, or, in `setup`, a part of
            the split is empty.

    Example:
        >>> data = FieldDataModule("data/burgers.h5", stride=4, batch_size=16)
        >>> data.batch_size, data.schema is None  # `setup` opens the file
        (16, True)
    """

    train: FieldDataset
    val: FieldDataset
    tests: dict[str, FieldDataset]
    statistics: dict[str, Statistics]

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
        check_counts(
            stride=stride,
            batch_size=batch_size,
            samples=samples,
            history=history,
            horizon=horizon,
            time_stride=time_stride,
            window_stride=window_stride,
            sensors=sensors,
        )
        check_counts(**{f"test_strides[{i}]": each for i, each in enumerate(test_strides)})
        check_counts(least=0, workers=workers)
        check_shares(validation=validation, test=test)
        if not test_strides:
            raise DataError("`data.test_strides` is empty, so nothing is tested. Set it to [1].")
        self.path = path
        self.test_paths = tuple(test_paths)
        self.mapping = mapping
        self.stride = stride
        self.test_strides = tuple(test_strides)
        self.batch_size = batch_size
        self.shares = (validation, 0.0 if test_paths else test)
        self.samples = samples
        self.history = history
        self.horizon = horizon
        self.time_stride = time_stride
        self.window_stride = window_stride
        self.sensors = sensors
        self.scalings = scalings or {}
        self.workers = workers
        self.start_method = start_method
        self.memory = memory
        self.seed = seed
        self.schema: Schema | None = None

    def setup(self, stage: str | None = None) -> None:
        """Opens and splits the files and computes the statistics of the training samples, once."""
        if self.schema is not None:
            return
        ds = open_dataset(self.path, mapping=self.mapping)
        self.source = ds
        self.symmetries = json.loads(ds.attrs.get("symmetries", "[]"))
        self.schema = schema_of(
            ds, stride=self.stride, history=self.history, time_stride=self.time_stride
        )
        if self.sensors is not None:
            self.schema = replace(self.schema, grid=None)
        split = split_indices(ds, validation=self.shares[0], test=self.shares[1], seed=self.seed)
        self._check_split(split)
        free = available()
        chosen = split["train"][: self.samples]
        self.train = self._dataset(ds, chosen, self.stride, self.horizon, self.window_stride)
        self.val = self._dataset(ds, split["validation"], self.stride)
        self.tests = self._test_sets(ds, split["test"])
        self.statistics = self._statistics()
        if rank_and_size()[0] == 0:
            placement = "; ".join(self._placement())
            log.info("%s, with %s free: %s.", self.path, format_bytes(free), placement)

    def normalizer(self) -> Normalizer:
        """The maps to normalized units and back, and where the data have no values."""
        assert self.schema is not None, "`setup` comes first"
        normalizer = Normalizer(self.schema, self.statistics)
        normalizer.missing = self.train.missing_places(normalizer)
        return normalizer

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of one epoch, in an order that depends only on the seed and the epoch."""
        order = TrainSampler(
            self.train, seed=self.seed, batch_size=self.batch_size, workers=self.workers
        )
        return self._loader(self.train, batch_size=self.batch_size, sampler=order)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Batches of the validation split, at the training resolution."""
        return self._eval_loader(self.val)

    def test_dataloader(self) -> list[DataLoader[Sample]]:
        """One loader for each test resolution, in the order of ``tests``."""
        return [self._eval_loader(data) for data in self.tests.values()]

    def _dataset(
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

    def _check_split(self, split: dict[str, np.ndarray]) -> None:
        """Refuse a split without training, validation or test samples.

        Raises:
            DataError: a part of the split is empty.
        """
        counts = {part: len(indices) for part, indices in split.items()}
        needed = ("train", "validation") if self.test_paths else ("train", "validation", "test")
        empty = [part for part in needed if not counts[part]]
        if not empty:
            return
        total = self.source.sizes["sample"]
        remedy = (
            "The file records this split in its coordinate `split`: change it there"
            if "split" in self.source.coords
            else "Set the shares `data.validation` and `data.test` so that every part has a sample"
        )
        hint = " or name test files in `data.test_paths`" if empty == ["test"] else ""
        raise DataError(
            f"{self.path} has {total} samples, and none are left for {' and '.join(empty)} "
            f"({counts['train']} training, {counts['validation']} validation, {counts['test']} "
            f"test). {remedy}{hint}; at least {len(needed)} samples are needed."
        )

    def _test_sets(self, ds: xr.Dataset, split: np.ndarray) -> dict[str, FieldDataset]:
        """By name of the resolution: the test files, or the test split of the training file."""
        sources = {path: open_dataset(path, mapping=self.mapping) for path in self.test_paths}
        tests = {}
        for path, source in (sources or {self.path: ds}).items():
            for stride in self.test_strides:
                data = self._dataset(source, None if sources else split, stride)
                tests[resolution_name(source, data.schema, stride, path)] = data
        return tests

    def _statistics(self) -> dict[str, Statistics]:
        """Statistics of the training samples (see `fields.data.statistics`)."""
        assert self.schema is not None
        names = (self.schema.inputs, self.schema.outputs, self.schema.params)
        mapping = self.mapping and Path(self.mapping).read_text()
        splits = [self.train.indices, self.val.indices, *(t.indices for t in self.tests.values())]
        others = [(path, fingerprint(Path(path))) for path in self.test_paths]
        # The version is that of the checks which the values have passed.
        selection = [names, splits, self.stride, self.test_strides, others, mapping, "version 2"]
        return training_statistics(
            self.train, Path(self.path), selection, self.scalings, self._check_values
        )

    def _check_values(self) -> None:
        """Read the validation and test samples once; see `FieldDataset.check_values`.

        Missing values in samples of the training file are where the training samples have them.
        """
        reference = int(self.train.indices[0])
        self.val.check_values(reference)
        for data in self.tests.values():
            data.check_values(None if self.test_paths else reference)

    def _placement(self) -> list[str]:
        """Which parts are held in memory and which are read from their file, with sizes."""
        parts = {"training": self.train, "validation": self.val}
        parts |= {f"test {name}": data for name, data in self.tests.items()}
        return [
            f"{name} {format_bytes(data.nbytes)} "
            + ("held in memory" if data.in_memory else "streamed from the file")
            for name, data in parts.items()
        ]

    def _eval_loader(self, data: FieldDataset) -> DataLoader[Any]:
        batches = EvalBatchSampler(EvalSampler(data), samples=len(data), batch_size=self.batch_size)
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


def check_counts(least: int = 1, **settings: int | None) -> None:
    """Refuse settings of the data that are below ``least``; None is not set.

    Raises:
        DataError: the message names the setting.

    Example:
        >>> check_counts(stride=0)
        Traceback (most recent call last):
        fields.io.base.DataError: `data.stride` is 0, but it must be at least 1.
    """
    for name, value in settings.items():
        if value is not None and not value >= least:
            raise DataError(f"`data.{name}` is {value}, but it must be at least {least}.")


def check_shares(*, validation: float, test: float) -> None:
    """Refuse shares of the samples that leave none for training.

    Raises:
        DataError: a share is not between 0 and 1, or both together are not below 1.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise DataError(
                f"`data.{name}` is {share}, but it is a share of the samples: at least 0 and "
                "below 1."
            )
    if not validation + test < 1:
        raise DataError(
            f"`data.validation` ({validation}) and `data.test` ({test}) together leave no samples "
            "for training. Their sum must be below 1."
        )


def format_bytes(count: float) -> str:
    """A number of bytes with three digits and a unit.

    Example:
        >>> format_bytes(1_234_567_890)
        '1.23 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def resolution_name(ds: xr.Dataset, schema: Schema, stride: int, path: str) -> str:
    """The name of a test set: ``64x64`` for grids, the name of the file for scattered points."""
    if "point" in ds.dims:
        return Path(path).stem
    return "x".join(str(-(-ds.sizes[axis] // stride)) for axis in schema.coords)
