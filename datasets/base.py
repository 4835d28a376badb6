"""What a problem of the catalogue is, how its samples are generated in parallel, and how they are written to a file.

Every sample has its own random stream, seeded by (seed, index), so that it does not depend on how many others are made,
on how many processes make them, or on the resolution they are stored at.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import h5netcdf
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fields.io.own import OwnLayout


class Problem(ABC):
    """A PDE with a recipe for its data. Constructors take keyword-only constants of the PDE and store them by name.

    Class attributes: `name` as in `python -m datasets NAME`; `samples` and `shares` (train, validation, test) of the
    published protocol; `resolution` it is usually stored at; `batch` samples solved together; `published` errors, each
    with its source; `symmetries` as in `fields.io.base`.
    """

    name: ClassVar[str]
    samples: ClassVar[int]
    shares: ClassVar[tuple[float, float, float]]
    resolution: ClassVar[int]
    batch: ClassVar[int] = 16
    published: ClassVar[dict[str, str]] = {}
    symmetries: ClassVar[Sequence[dict]] = ()

    @abstractmethod
    def solve(self, indices: range, *, resolution: int, seed: int, device: str = "cpu") -> xr.Dataset:
        """The samples with these indices, in canonical form, float64."""

    def generate(
        self, *, samples: int, resolution: int, seed: int = 0, workers: int = 1, device: str = "cpu"
    ) -> Iterator[xr.Dataset]:
        """All samples in order, a batch at a time, solved in `workers` processes (1: in this one)."""
        if samples < 1 or workers < 1:
            raise ValueError(f"`samples` and `workers` must be at least 1, got {samples} and {workers}.")
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

    def split(self, samples: int) -> np.ndarray:
        """0 train, 1 validation, 2 test for each sample, in the published shares; test samples come last."""
        test = round(samples * self.shares[2])
        validation = round(samples * self.shares[1])
        return np.repeat(np.int8([0, 1, 2]), [samples - validation - test, validation, test])

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


def write(
    problem: Problem, path: Path, *, samples: int, resolution: int, seed: int, batches: Iterable[xr.Dataset]
) -> None:
    """Streams batches into one netCDF-4 file, chunked by sample; the file appears only when it is complete.

    Fields are stored in float32 (rounding 6e-8), coordinates and parameters in float64.
    """
    part = path.with_name(path.name + ".part")
    attrs = {
        "layout": OwnLayout.layout,
        "problem": problem.name,
        "protocol": json.dumps(problem.protocol(samples=samples, resolution=resolution, seed=seed)),
        "symmetries": json.dumps(list(problem.symmetries)),
        "coordinates": "split",
    }
    try:
        with h5netcdf.File(part, "w") as file:
            done = 0
            for batch in batches:
                if done == 0:
                    _layout(file, batch, samples=samples, split=problem.split(samples))
                    file.attrs.update(attrs)
                count = batch.sizes["sample"]
                for name, variable in batch.variables.items():
                    if variable.dims[:1] == ("sample",):
                        file.variables[str(name)][done : done + count] = variable.values
                done += count
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _layout(file: h5netcdf.File, first: xr.Dataset, *, samples: int, split: np.ndarray) -> None:
    """Creates dims, variables and attributes after the first batch, and fills what does not depend on the sample."""
    file.dimensions = {str(dim): samples if dim == "sample" else size for dim, size in first.sizes.items()}
    file.create_variable("split", ("sample",), data=split)
    file.variables["split"].attrs["long_name"] = "0 train, 1 validation, 2 test"
    for name, variable in first.variables.items():
        field = variable.attrs.get("role") in ("input", "output", "state")
        dims = tuple(str(dim) for dim in variable.dims)
        shape = tuple(file.dimensions[dim].size for dim in dims)
        if dims[:1] == ("sample",):
            dtype, chunks = ("f4" if field else variable.dtype), (1, *shape[1:]) if field else None
            stored = file.create_variable(str(name), dims, dtype, chunks=chunks)
        else:
            stored = file.create_variable(str(name), dims, data=variable.values)
        for key, value in variable.attrs.items():
            stored.attrs[key] = value


def field(values: Tensor, *dims: str, role: str, long_name: str, units: str = "1") -> xr.Variable:
    """A variable of canonical form over (sample, *dims)."""
    return xr.Variable(("sample", *dims), values.cpu().numpy(), {"role": role, "units": units, "long_name": long_name})


def axis(name: str, values: np.ndarray, *, bounds: tuple[float, float], periodic: bool = False) -> xr.Variable:
    """A space axis of canonical form; the catalogue is dimensionless."""
    return xr.Variable(name, values, {"units": "1", "periodic": int(periodic), "bounds": np.float64(bounds)})


def circle(name: str, resolution: int, length: float = 1.0) -> xr.Variable:
    """A periodic axis [0, length) at the points i·length/resolution, from which every stride keeps the left edge."""
    return axis(name, np.arange(resolution) * (length / resolution), bounds=(0.0, length), periodic=True)


def _start_worker() -> None:
    """One thread each, and Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
