"""Several files of one layout, joined along ``sample``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fields.io.base import SPLITS, DataError, check
from fields.io.concatenated import ConcatenatedArray
from fields.io.lazy import LazyArray, lazy, stored_array

FOLDERS = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


def split_files(path: Path) -> list[tuple[Path, str]]:
    """HDF5 files in the folders ``train``, ``valid``, ``test`` (perhaps inside ``data``), each with its split."""
    base = path / "data" if (path / "data").is_dir() else path
    files = []
    for folder, split in FOLDERS.items():
        if (base / folder).is_dir():
            names = sorted(
                file for file in (base / folder).iterdir() if file.suffix in (".hdf5", ".h5")
            )
            files += [(file, split) for file in names]
    return files


def join_samples(parts: Sequence[tuple[xr.Dataset, str]], path: Path) -> xr.Dataset:
    """One dataset of all samples, with coordinate ``split``; space axes must agree, shorter trajectories end in NaN."""
    datasets = [ds for ds, _ in parts]
    longest = max(datasets, key=lambda ds: ds.sizes.get("time", 0))
    for ds in datasets:
        if set(ds.data_vars) != set(longest.data_vars):
            odd = sorted(map(str, set(ds.data_vars) ^ set(longest.data_vars)))
            raise DataError(
                f"{path}: the files do not hold the same variables; {', '.join(odd)} is not in all."
            )
        for name, index in ds.indexes.items():
            if name != "time" and not index.equals(longest.indexes[name]):
                raise DataError(
                    f"{path}: the files have different coordinates `{name}`. Open them one by one."
                )
    counts = [ds.sizes["sample"] for ds in datasets]
    variables = {}
    for name, variable in longest.data_vars.items():
        if variable.ndim > 1:
            arrays = ConcatenatedArray([_untouched(ds[name]) for ds in datasets])
            variables[name] = lazy(variable.dims, arrays, variable.attrs)
        else:
            values = [
                np.broadcast_to(ds[name].values, (n,))
                for ds, n in zip(datasets, counts, strict=True)
            ]
            variables[name] = xr.Variable(("sample",), np.concatenate(values), variable.attrs)
    split = np.repeat([SPLITS.index(split) for _, split in parts], counts).astype(np.int8)
    coords = {name: longest.variables[name] for name, _ in longest.indexes.items()} | {
        "split": ("sample", split)
    }
    coords |= _per_sample(datasets, longest, counts)
    joined = xr.Dataset(variables, coords, longest.attrs)

    def close() -> None:
        for ds in datasets:
            ds.close()

    joined.set_close(close)
    return check(joined, path)


def _untouched(variable: xr.DataArray) -> LazyArray:
    array = stored_array(variable)
    assert array is not None, (
        f"`{variable.name}` comes from a reader and was neither sliced nor loaded"
    )
    return array


def _per_sample(
    datasets: list[xr.Dataset], longest: xr.Dataset, counts: list[int]
) -> dict[str, xr.Variable]:
    """Times of each sample, where they differ between files or samples; NaN after the end of a trajectory."""
    if "time" not in longest.sizes:
        return {}
    rows = np.full((sum(counts), longest.sizes["time"]), np.nan)
    start = 0
    for ds, n in zip(datasets, counts, strict=True):
        times = ds["sample_time"].values if "sample_time" in ds else ds["time"].values
        rows[start : start + n, : ds.sizes["time"]] = times
        start += n
    if np.array_equal(rows, np.broadcast_to(longest["time"].values, rows.shape)):
        return {}
    return {"sample_time": xr.Variable(("sample", "time"), rows)}
