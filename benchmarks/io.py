"""How fast windows of frames are read: `python -m benchmarks.io [--samples 64] [--frames 60] [--size 96]`.

Random windows of five frames from the same files in the same run, by h5py with open handles, by this library's lazy
arrays (what a training loop uses) and by xarray's ``isel`` on the same dataset; then an epoch with one and two worker
processes (this needs two idle cores), and the peak memory of a reader of a file four times as large.

Beside The Well's own reader: make an environment of its own with `pip install the-well bracketfields`, write a file
with `the_well.utils.dummy_data`, and give it as `--well FILE`: this script then times `WellDataset` and this library on
it.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import xarray as xr

from fields.io import open_dataset, stored_array, write_dataset
from fields.io.handles import CHUNK_CACHE
from fields.io.lazy import LazyArray

WINDOW, ROUNDS = 5, 6


def write(
    path: Path, shape: tuple[int, ...], *, chunks: tuple[int, ...] | None, compression: str | None = None
) -> None:
    """A PDEBench-like file, filled sample by sample."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        tensor = file.create_dataset("tensor", shape, "f4", chunks=chunks, compression=compression)
        for i in range(shape[0]):
            tensor[i] = rng.normal(size=shape[1:]).astype("f4")
        for name, n in (("x", shape[2]), ("y", shape[3])):
            file[f"{name}-coordinate"] = (np.arange(n) + 0.5) / n
        file["t-coordinate"] = np.arange(shape[1] + 1) * 0.1


def windows_per_second(read: Callable[[int, int], object], shape: tuple[int, ...], count: int, seed: int) -> float:
    """Random windows read per second of processor time, which a busy machine does not slow (files are cached)."""
    rng = np.random.default_rng(seed)
    places = [(int(rng.integers(shape[0])), int(rng.integers(shape[1] - WINDOW + 1))) for _ in range(count)]
    begin = time.process_time()
    for sample, first in places:
        read(sample, first)
    return count / (time.process_time() - begin)


def stored(variable: xr.DataArray) -> LazyArray:
    """The variable's array in its file."""
    array = stored_array(variable)
    if array is None:
        raise ValueError(f"{variable.name!r} is no lazy variable: give a file whose numbers are stored as they are.")
    return array


def compare(path: Path, name: str, count: int) -> dict[str, float]:
    """Median rate of each reader over alternating rounds."""
    ds = open_dataset(path)
    fast = stored(ds["u"])
    rates: dict[str, list[float]] = {"h5py": [], "lazy": [], "isel": []}
    with h5py.File(path, rdcc_nbytes=CHUNK_CACHE) as file:
        raw = file[name]
        assert isinstance(raw, h5py.Dataset)
        readers = {
            "h5py": lambda i, t: raw[i, t : t + WINDOW],
            "lazy": lambda i, t: fast.read((i, slice(t, t + WINDOW), slice(None), slice(None))),
            "isel": lambda i, t: ds["u"].isel(sample=i, time=slice(t, t + WINDOW)).values,
        }
        assert all(np.array_equal(read(1, 2), readers["h5py"](1, 2)) for read in readers.values())
        for round_ in range(ROUNDS):
            for i, (label, read) in enumerate(readers.items()):  # other places for each: they share HDF5's chunk cache
                rates[label].append(windows_per_second(read, raw.shape, count, seed=len(readers) * round_ + i))
    return {label: float(np.median(values)) for label, values in rates.items()}


class Windows:
    """Map-style dataset of all windows that do not overlap, for a DataLoader."""

    def __init__(self, path: Path):
        ds = open_dataset(path)
        self.array, self.per_sample = stored(ds["u"]), ds.sizes["time"] // WINDOW

    def __len__(self) -> int:
        return self.array.shape[0] * self.per_sample

    def __getitem__(self, item: int) -> np.ndarray:
        sample, window = divmod(item, self.per_sample)
        return self.array.read((sample, slice(window * WINDOW, (window + 1) * WINDOW), slice(None), slice(None)))


def epoch(path: Path, workers: int) -> float:
    """Seconds for one epoch in random order, workers already started."""
    from torch.utils.data import DataLoader, Dataset  # reading, whose memory is measured, needs no torch

    loader = DataLoader(cast(Dataset, Windows(path)), 8, shuffle=True, num_workers=workers, persistent_workers=True)
    for _ in loader:
        pass
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def peak_megabytes(path: Path) -> float:
    """Peak memory of a process that reads a thousand windows."""
    code = f"from benchmarks.io import read_thousand; read_thousand({str(path)!r})"
    root = Path(__file__).parents[1]
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    )


def read_thousand(path: str) -> None:
    """Reads, then prints the process's own peak."""
    ds = open_dataset(path)
    array = stored(ds["u"])
    windows_per_second(
        lambda i, t: array.read((i, slice(t, t + WINDOW), slice(None), slice(None))), array.shape, 1000, 0
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def beside_the_well(path: Path) -> None:
    """WellDataset and this library on the same file of The Well."""
    well = importlib.import_module("the_well.data")  # of an environment of its own
    theirs = well.WellDataset(path=str(path.parent), n_steps_input=4, n_steps_output=1, use_normalization=False)
    ds = open_dataset(path)
    arrays = [stored(v) for v in ds.data_vars.values() if "time" in v.dims]
    places = np.random.default_rng(0).integers(len(theirs), size=200)
    begin = time.process_time()
    for i in places:
        theirs[int(i)]
    per_second = len(places) / (time.process_time() - begin)
    shape = arrays[0].shape

    def ours(i: int, t: int) -> list[np.ndarray]:
        return [array.read((i, slice(t, t + WINDOW), *[slice(None)] * (len(shape) - 2))) for array in arrays]

    rate = windows_per_second(ours, shape, 2000, 0)
    print(f"The Well: WellDataset {per_second:.0f}/s, this library {rate:.0f}/s, {rate / per_second:.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("samples", 64), ("frames", 60), ("size", 96), ("windows", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--well", type=Path)
    options = parser.parse_args()
    shape = (options.samples, options.frames, options.size, options.size)
    frame, trajectory = (1, 1, *shape[2:]), (1, *shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.h5" for name in ("contiguous", "frames", "gzip frames", "trajectories")}
        write(files["contiguous"], shape, chunks=None)
        write(files["frames"], shape, chunks=frame)
        write(files["gzip frames"], shape, chunks=frame, compression="gzip")
        write(files["trajectories"], shape, chunks=trajectory, compression="gzip")
        files["ours"] = Path(folder) / "ours.nc"
        write_dataset(open_dataset(files["contiguous"]), files["ours"])
        print(f"windows of {WINDOW} frames per processor second; files of {' x '.join(map(str, shape))}")
        print(f"{'stored':14s}{'h5py':>9s}{'lazy':>9s}{'isel':>9s}{'lazy/h5py':>11s}")
        for name, path in files.items():
            rate = compare(path, "u" if name == "ours" else "tensor", options.windows if "gzip" not in name else 60)
            row = "".join(f"{rate[label]:9.0f}" for label in ("h5py", "lazy", "isel"))
            print(f"{name:14s}{row}{rate['lazy'] / rate['h5py']:11.2f}")
        one, two = epoch(files["gzip frames"], 1), epoch(files["gzip frames"], 2)
        print(f"epoch over gzip frames: one worker {one:.2f} s, two {two:.2f} s, {one / two:.2f} times")
        write(Path(folder) / "large.h5", (4 * shape[0], *shape[1:]), chunks=frame)
        small, large = peak_megabytes(files["frames"]), peak_megabytes(Path(folder) / "large.h5")
        print(f"peak memory: file {options.samples} samples {small:.0f} MB, four times as large {large:.0f} MB")
    if options.well:
        beside_the_well(options.well)


if __name__ == "__main__":
    main()
