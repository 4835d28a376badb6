"""Reading rates for windows of frames.

    python -m benchmarks.io [--samples 64] [--frames 60] [--size 96]

Reads random windows of five frames from the same files in the same run: with h5py and an open
handle, with this library's lazy arrays (which training uses), with `FieldDataset` (which makes
torch samples) and with xarray's ``isel`` on the same dataset. Then it compares an epoch with one
and two loader processes (see `benchmarks.workers`; wall times need an idle machine) and measures
the peak memory of a reader for a file four times as large. It takes less than two minutes on two
idle cores.

For a comparison with The Well's own reader, create a virtual environment with `pip install
the-well` and pass its interpreter: `--well-python ENV/bin/python` times `WellDataset` on its dummy
file, which this library then reads as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from benchmarks.cache import peak_memory
from benchmarks.workers import WINDOW, compare_workers
from fields.data import FieldDataset, schema_of
from fields.io import open_dataset, stored_array, write_dataset
from fields.io.hdf5 import CHUNK_CACHE
from fields.io.lazy import LazyArray

ROUNDS = 6


def write(
    path: Path,
    shape: tuple[int, ...],
    *,
    chunks: tuple[int, ...] | None,
    compression: str | None = None,
) -> None:
    """Writes a file in PDEBench's layout, sample by sample."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        tensor = file.create_dataset("tensor", shape, "f4", chunks=chunks, compression=compression)
        for i in range(shape[0]):
            tensor[i] = rng.normal(size=shape[1:]).astype("f4")
        for name, n in (("x", shape[2]), ("y", shape[3])):
            file[f"{name}-coordinate"] = (np.arange(n) + 0.5) / n
        file["t-coordinate"] = np.arange(shape[1] + 1) * 0.1


def windows_per_second(
    read: Callable[[int, int], Any], shape: tuple[int, ...], count: int, seed: int
) -> float:
    """Random windows read per second of CPU time; the files are in the system's cache."""
    rng = np.random.default_rng(seed)
    places = [
        (int(rng.integers(shape[0])), int(rng.integers(shape[1] - WINDOW + 1)))
        for _ in range(count)
    ]
    begin = time.process_time()
    for sample, first in places:
        read(sample, first)
    return count / (time.process_time() - begin)


def stored(variable: xr.DataArray) -> LazyArray:
    """The array behind a variable of an opened file."""
    array = stored_array(variable)
    assert array is not None, f"{variable.name} is read through xarray"
    return array


def compare(path: Path, name: str, count: int) -> dict[str, float]:
    """Median rate of each reader over alternating rounds, in windows per CPU second."""
    ds = open_dataset(path)
    fast = stored(ds["u"])
    data = FieldDataset(ds, schema_of(ds, history=WINDOW - 1), memory_limit=0)
    rates: dict[str, list[float]] = {"h5py": [], "lazy": [], "samples": [], "isel": []}
    with h5py.File(path, rdcc_nbytes=CHUNK_CACHE) as file:
        raw = file[name]
        assert isinstance(raw, h5py.Dataset)
        readers = {
            "h5py": lambda i, t: raw[i, t : t + WINDOW],
            "lazy": lambda i, t: fast.read((i, slice(t, t + WINDOW), slice(None), slice(None))),
            "samples": lambda i, t: data[i * data.windows.max_per_sample + t],
            "isel": lambda i, t: ds["u"].isel(sample=i, time=slice(t, t + WINDOW)).values,
        }
        assert all(
            np.array_equal(readers[name](1, 2), readers["h5py"](1, 2)) for name in ("lazy", "isel")
        )
        for round_ in range(ROUNDS):
            for i, (label, read) in enumerate(readers.items()):
                # Every reader gets other windows, since all share HDF5's chunk cache.
                seed = len(readers) * round_ + i
                rates[label].append(windows_per_second(read, raw.shape, count, seed))
    return {label: float(np.median(values)) for label, values in rates.items()}


def peak_megabytes(path: Path) -> float:
    """Peak memory in MB of a new process that reads a thousand windows."""
    code = f"from benchmarks.io import read_thousand; read_thousand({str(path)!r})"
    root = Path(__file__).parents[1]
    return float(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
        ).stdout
    )


def read_thousand(path: str) -> None:
    """Reads a thousand windows and prints the peak memory of this process in MB."""
    ds = open_dataset(path)
    array = stored(ds["u"])
    windows_per_second(
        lambda i, t: array.read((i, slice(t, t + WINDOW), slice(None), slice(None))),
        array.shape,
        1000,
        0,
    )
    print(peak_memory() / 2**20)


def streamed_and_held(ds: xr.Dataset, windows: int, count: int) -> dict[str, float]:
    """Windows per CPU second of `FieldDataset`, streamed from the file and held in memory."""
    rates = {}
    for name, limit in (("FieldDataset, streamed", 0.0), ("FieldDataset, held in memory", 1e9)):
        data = FieldDataset(ds, schema_of(ds, history=WINDOW - 1), memory_limit=limit)
        assert len(data) == windows
        places = np.random.default_rng(0).integers(len(data), size=count)
        data[0]
        begin = time.process_time()
        for i in places:
            data[int(i)]
        rates[name] = len(places) / (time.process_time() - begin)
    return rates


def compare_with_the_well(python: Path, count: int) -> None:
    """Rates of `WellDataset` in its own environment and of this library, on the same dummy file."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("well_dataset.py")
        command = [str(python), str(script), folder, str(count)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        theirs = json.loads(out.splitlines()[-1])
        ds = open_dataset(Path(folder) / "dummy.hdf5")
        stored_arrays = [stored_array(v) for v in ds.data_vars.values() if "time" in v.dims]
        arrays = [array for array in stored_arrays if array is not None]
        shape = arrays[0].shape
        rest = [slice(None)] * (len(shape) - 2)

        def read(i: int, t: int) -> list[np.ndarray]:
            return [array.read((i, slice(t, t + WINDOW), *rest)) for array in arrays]

        rates = {
            "WellDataset": theirs["per_second"],
            "lazy arrays": windows_per_second(read, shape, 10 * count, 0),
            **streamed_and_held(ds, theirs["windows"], 10 * count),
        }
        print(
            f"The Well's dummy file, {', '.join(map(str, ds.data_vars))} {shape}, "
            f"windows of {WINDOW} frames per CPU second"
        )
        for name, rate in rates.items():
            print(f"{name:30s}{rate:9.0f}{rate / rates['WellDataset']:8.1f} times")


def main() -> None:
    """Writes the files, prints the rates, the gain of a second process and the peak memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("samples", 64), ("frames", 60), ("size", 96), ("windows", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--well-python", type=Path, help="interpreter that has the-well")
    options = parser.parse_args()
    shape = (options.samples, options.frames, options.size, options.size)
    frame = (1, 1, *shape[2:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, shape, frame)
        size = " x ".join(map(str, shape))
        print(f"windows of {WINDOW} frames per CPU second; files of {size}")
        head = "".join(f"{label:>9s}" for label in ("h5py", "lazy", "samples", "isel"))
        print(f"{'stored':14s}{head}{'lazy/h5py':>11s}")
        for name, path in files.items():
            count = 60 if "gzip" in name else options.windows
            rate = compare(path, "u" if name == "ours" else "tensor", count)
            row = "".join(f"{rate[label]:9.0f}" for label in ("h5py", "lazy", "samples", "isel"))
            print(f"{name:14s}{row}{rate['lazy'] / rate['h5py']:11.2f}")
        print(compare_workers(files["gzip frames"]))
        write(folder / "large.h5", (4 * shape[0], *shape[1:]), chunks=frame)
        small = peak_megabytes(files["frames"])
        large = peak_megabytes(folder / "large.h5")
        print(
            f"peak memory: file of {options.samples} samples {small:.0f} MB, "
            f"four times as large {large:.0f} MB"
        )
    if options.well_python:
        compare_with_the_well(options.well_python, options.windows // 5)


def write_files(folder: Path, shape: tuple[int, ...], frame: tuple[int, ...]) -> dict[str, Path]:
    """The same shape stored in five ways."""
    names = ("contiguous", "frames", "gzip frames", "trajectories")
    files = {name: folder / f"{name}.h5" for name in names}
    write(files["contiguous"], shape, chunks=None)
    write(files["frames"], shape, chunks=frame)
    write(files["gzip frames"], shape, chunks=frame, compression="gzip")
    write(files["trajectories"], shape, chunks=(1, *shape[1:]), compression="gzip")
    files["ours"] = folder / "ours.nc"
    write_dataset(open_dataset(files["contiguous"]), files["ours"])
    return files


if __name__ == "__main__":
    main()
