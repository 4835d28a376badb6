"""Any layout into ours: streamed sample by sample, resumable, verified by reading back.

The new file grows as ``OUT.part`` and takes its name when it is complete and equal to its source.
An interrupted run continues from its last sample, one that was killed from what reached the disk, a
second before at most. A part that cannot be opened is begun again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from fields.io import open_dataset
from fields.io.base import DataError
from fields.io.native import LIBVER
from fields.io.tools.validate import iter_blocks
from fields.io.writer import create_empty

FLUSHED = 1.0  # seconds after which what is written goes to the disk

DONE = "repacked_samples"  # attribute of each field of the part: how many samples it has

SOURCE = "repacked_from"

Progress = Callable[[str, int, int], None]


def repack(
    source: Path,
    target: Path,
    *,
    compression: str | None = None,
    mapping: Mapping[str, Any] | str | Path | None = None,
    progress: Progress = lambda step, done, total: None,
) -> None:
    """Writes ``target`` in our layout, chunked by frame.

    Args:
        source: a file of any known layout.
        target: where to write.
        compression: ``gzip`` or ``lzf``; default none, which is fastest to read.
        mapping: for a source of unknown layout.
        progress: called with ``"write"`` or ``"verify"``, samples done and samples in all.
    """
    source, target = Path(source), Path(target)
    if compression not in (None, "gzip", "lzf"):
        raise DataError(f"compression is {compression!r}; it may be gzip, lzf or nothing.")
    if source.resolve() == target.resolve():
        raise DataError(f"{target} is the source itself. Give another name.")
    ds = open_dataset(source, mapping=mapping)
    fields = [str(name) for name in ds.data_vars if ds[name].ndim > 1]
    part = target.with_name(target.name + ".part")
    stamp = _stamp(source, compression, mapping)
    if not _continues(part, stamp):
        _create(ds, part, fields, compression, stamp)
    total = sum(ds.sizes["sample"] for _ in fields)
    with h5py.File(part, "a", libver=LIBVER) as stored, h5netcdf.File(stored, "a") as file:
        _fill(ds, file, fields, total, progress, stored.flush)
    _verify(ds, part, fields, total, progress)
    with h5netcdf.File(part, "a", libver=LIBVER) as file:
        del file.attrs[SOURCE]
        for name in fields:
            del file.variables[name].attrs[DONE]
    os.replace(part, target)


def _stamp(source: Path, compression: str | None, mapping: Any) -> str:
    """What a part must have been made from to be continued."""
    files = sorted(f for f in ([source] if source.is_file() else source.rglob("*")) if f.is_file())
    facts = [(str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return json.dumps([facts, compression, str(mapping)])


def _continues(part: Path, stamp: str) -> bool:
    if not part.exists():
        return False
    try:
        with h5netcdf.File(part, "r") as file:
            return file.attrs.get(SOURCE) == stamp
    except Exception:  # not closed properly, or no file of ours: begun again
        return False


def _create(
    ds: xr.Dataset, part: Path, fields: list[str], compression: str | None, stamp: str
) -> None:
    """The part with everything but the fields' values."""
    create_empty(ds, part, fields, compression)
    with h5netcdf.File(part, "a", libver=LIBVER) as file:
        for name in fields:
            file.variables[name].attrs[DONE] = 0
        file.attrs[SOURCE] = stamp


def _fill(
    ds: xr.Dataset,
    file: h5netcdf.File,
    fields: list[str],
    total: int,
    progress: Progress,
    flush: Callable[[], None],
) -> None:
    done, flushed = 0, time.monotonic()
    for name in fields:
        variable = file.variables[name]
        for sample in range(ds.sizes["sample"]):
            if sample >= int(variable.attrs[DONE]):
                first = 0
                for values in iter_blocks(ds[name], sample):
                    if "time" in ds[name].dims:
                        variable[sample, first : first + len(values)] = values
                        first += len(values)
                    else:
                        variable[sample] = values
                variable.attrs[DONE] = sample + 1
                if time.monotonic() - flushed > FLUSHED:
                    flush()
                    flushed = time.monotonic()
            done += 1
            progress("write", done, total)


def _verify(ds: xr.Dataset, part: Path, fields: list[str], total: int, progress: Progress) -> None:
    written, done = open_dataset(part), 0
    for name in fields:
        for sample in range(ds.sizes["sample"]):
            pairs = zip(
                iter_blocks(ds[name], sample), iter_blocks(written[name], sample), strict=True
            )
            if not all(_same(a, b) for a, b in pairs):
                raise DataError(
                    f"{part}: `{name}` of sample {sample} differs from the source. Delete it and repack again."
                )
            done += 1
            progress("verify", done, total)
    written.close()


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
