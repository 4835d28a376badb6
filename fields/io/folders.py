"""Several files of one layout, concatenated along ``sample``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fields.io.base import SPLITS, DataError, check_canonical
from fields.io.concatenated import ConcatenatedArray
from fields.io.lazy import LazyArray, lazy_variable, stored_array

# Folder names of the splits.
SPLIT_FOLDERS = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


def split_files(path: Path) -> list[tuple[Path, str]]:
    """HDF5 files in the folders ``train``, ``valid``, ``test`` of a dataset, with their splits.

    The folders may be inside a folder ``data``.
    """
    base = path / "data" if (path / "data").is_dir() else path
    files = []
    for folder, split in SPLIT_FOLDERS.items():
        if (base / folder).is_dir():
            names = sorted(
                file for file in (base / folder).iterdir() if file.suffix in (".hdf5", ".h5")
            )
            files += [(file, split) for file in names]
    return files


def concatenate_samples(parts: Sequence[tuple[xr.Dataset, str]], path: Path) -> xr.Dataset:
    """One dataset of the samples of all parts, with the coordinate ``split``.

    The space axes must agree. Trajectories that are shorter than the longest end in NaN.

    Args:
        parts: untouched datasets as a reader returns them, each with its split.
        path: their folder, for error messages.

    Raises:
        DataError: the parts have different variables or space axes.
    """
    datasets = [ds for ds, _ in parts]
    longest = max(datasets, key=lambda ds: ds.sizes.get("time", 0))
    _check_agreement(datasets, longest, path)
    counts = [ds.sizes["sample"] for ds in datasets]
    variables = {}
    for name, variable in longest.data_vars.items():
        if variable.ndim > 1:
            arrays = ConcatenatedArray([_lazy_array(ds[name]) for ds in datasets])
            variables[name] = lazy_variable(variable.dims, arrays, variable.attrs)
        else:
            values = [
                np.broadcast_to(ds[name].values, (n,))
                for ds, n in zip(datasets, counts, strict=True)
            ]
            variables[name] = xr.Variable(("sample",), np.concatenate(values), variable.attrs)
    split = np.repeat([SPLITS.index(split) for _, split in parts], counts).astype(np.int8)
    coords = {name: longest.variables[name] for name, _ in longest.indexes.items()}
    coords["split"] = xr.Variable(("sample",), split)
    coords |= _times_per_sample(datasets, longest, counts)
    concatenated = xr.Dataset(variables, coords, longest.attrs)

    def close() -> None:
        for ds in datasets:
            ds.close()

    concatenated.set_close(close)
    return check_canonical(concatenated, path)


def _check_agreement(datasets: list[xr.Dataset], longest: xr.Dataset, path: Path) -> None:
    for ds in datasets:
        if set(ds.data_vars) != set(longest.data_vars):
            odd = sorted(map(str, set(ds.data_vars) ^ set(longest.data_vars)))
            raise DataError(
                f"{path}: the files contain different variables; only some of them contain "
                f"{', '.join(odd)}. Open the files one by one."
            )
        for name, index in ds.indexes.items():
            if name != "time" and not index.equals(longest.indexes[name]):
                raise DataError(
                    f"{path}: the coordinate `{name}` differs between the files. "
                    "Open the files one by one."
                )


def _lazy_array(variable: xr.DataArray) -> LazyArray:
    array = stored_array(variable)
    assert array is not None, f"`{variable.name}` was sliced or loaded before concatenation"
    return array


def _times_per_sample(
    datasets: list[xr.Dataset], longest: xr.Dataset, counts: list[int]
) -> dict[str, xr.Variable]:
    """``sample_time`` if times differ between files or samples; NaN beyond a trajectory's end."""
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
