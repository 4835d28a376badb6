"""Problems of the catalogue: how samples are generated in parallel and written to a file.

Every sample has its own random stream, seeded by (seed, index), so that it does not depend on how
many others are made, on how many processes make them, or on the resolution they are stored at.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.io import write_dataset


class Problem(ABC):
    """A PDE with a recipe for its data.

    Constructors take keyword-only constants of the PDE and store them by name.

    Class attributes: `name` as in `python -m datasets NAME`; `samples` and `shares` (train,
    validation, test) of the published protocol; `resolution` it is usually stored at; `batch`
    samples solved together; `published` errors, each with its source.
    """

    name: ClassVar[str]
    samples: ClassVar[int]
    shares: ClassVar[tuple[float, float, float]]
    resolution: ClassVar[int]
    batch: ClassVar[int] = 16
    published: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def solve(
        self, indices: range, *, resolution: int, seed: int, device: str = "cpu"
    ) -> xr.Dataset:
        """The samples with these indices, in canonical form, float64."""

    def generate(
        self, *, samples: int, resolution: int, seed: int = 0, workers: int = 1, device: str = "cpu"
    ) -> Iterator[xr.Dataset]:
        """Yield all samples in order, in batches, solved by `workers` processes (1: this one)."""
        if samples < 1 or workers < 1:
            raise ValueError(
                f"`samples` and `workers` must be at least 1, got {samples} and {workers}."
            )
        ranges = [range(i, min(i + self.batch, samples)) for i in range(0, samples, self.batch)]
        solve = partial(self.solve, resolution=resolution, seed=seed, device=device)
        if workers == 1:
            yield from map(solve, ranges)
            return
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(ranges)), spawn, initializer=_start_worker)
        try:
            yield from pool.map(solve, ranges)
        finally:
            pool.shutdown(cancel_futures=True)

    def random(self, seed: int, index: int) -> np.random.Generator:
        """The random stream of one sample."""
        return np.random.default_rng([seed, index])

    def symmetries(self) -> list[dict]:
        """Generators of the symmetry group of the solution operator, as in `fields.io.base`."""
        return []

    def usual_samples(self) -> int:
        """How many samples the protocol asks for."""
        return self.samples

    def split(self, samples: int) -> np.ndarray:
        """0 train, 1 validation, 2 test for each sample, in the published shares, in this order."""
        test = round(samples * self.shares[2])
        validation = round(samples * self.shares[1])
        return np.repeat(
            np.array([0, 1, 2], dtype=np.int8), [samples - validation - test, validation, test]
        )

    def protocol(self, **run: int) -> dict:
        """Everything needed to make the file again, for people and for programs."""
        recipe = inspect.getdoc(self)
        return {
            "problem": self.name,
            "constants": vars(self),
            "run": run,
            "recipe": recipe,
            "published": self.published,
        }


def write(problem: Problem, path: Path, *, batches: Iterable[xr.Dataset], **run: int) -> None:
    """Writes all batches to one file in our own layout, which appears only when it is complete.

    Fields are stored in float32 (rounding 6e-8), coordinates and parameters in float64.
    """
    parts = [batch.map(_narrow, keep_attrs=True) for batch in batches]
    ds = xr.concat(
        parts,
        "sample",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
    )
    split = xr.Variable(
        "sample", problem.split(ds.sizes["sample"]), {"long_name": "0 train, 1 validation, 2 test"}
    )
    protocol = json.dumps(problem.protocol(**run))
    attrs = {
        "problem": problem.name,
        "protocol": protocol,
        "symmetries": json.dumps(problem.symmetries()),
    }
    write_dataset(ds.assign_coords(split=split).assign_attrs(attrs), path)


def _narrow(values: xr.DataArray) -> xr.DataArray:
    return values if values.attrs["role"] == "parameter" else values.astype(np.float32)


def field(values: Tensor, *dims: str, role: str, long_name: str, units: str = "1") -> xr.Variable:
    """A variable of canonical form over (sample, *dims)."""
    return xr.Variable(
        ("sample", *dims),
        values.cpu().numpy(),
        {"role": role, "units": units, "long_name": long_name},
    )


def axis(
    name: str, values: np.ndarray, *, bounds: tuple[float, float], periodic: bool = False
) -> xr.Variable:
    """A space axis of canonical form; the catalogue is dimensionless."""
    return xr.Variable(
        name, values, {"units": "1", "periodic": int(periodic), "bounds": tuple(map(float, bounds))}
    )


def circle(name: str, resolution: int, length: float = 1.0) -> xr.Variable:
    """A periodic axis [0, length) with points i·length/resolution; strides keep the left edge."""
    return axis(
        name, np.arange(resolution) * (length / resolution), bounds=(0.0, length), periodic=True
    )


def _start_worker() -> None:
    """One thread each, and Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
