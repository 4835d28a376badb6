"""Convert a file of any layout to the native one: streamed, resumable, verified by reading back.

The new file grows as ``OUT.part`` and takes its name when it is complete and equal to its source.
An interrupted run continues from the last sample that reached the disk, at most a second before the
interruption. A part that cannot be opened is written anew. After an error, such as a full disk,
nothing is left. A second process that repacks to the same target is refused.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr

from fields.core.files import PART, check_not_source, explained, recognizable, writable_target
from fields.core.locks import lock
from fields.io.base import DataError
from fields.io.opening import open_dataset
from fields.io.output_file import ExtendedFile, open_to_extend
from fields.io.tools.validate import iter_blocks
from fields.io.writer import create_empty

# Seconds after which written samples are flushed to the disk.
FLUSH_INTERVAL = 1.0

# Attributes of the part: number of complete samples of each field, and what it is made from.
SAMPLES_DONE = "repacked_samples"
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
    """Write ``target`` in the native layout, with one frame per chunk.

    Args:
        source: a file of any known layout.
        target: the file to write.
        compression: ``gzip`` or ``lzf``; default none, which is fastest to read.
        mapping: for a source of an unknown layout.
        progress: called with ``"write"`` or ``"verify"``, the number of samples done and their
            total.

    Raises:
        DataError: the source cannot be read, or the copy differs from it.
        WriteError: the target cannot be written.
        ValueError: the target is the source, or another process is writing it.
    """
    source = Path(source)
    if compression not in (None, "gzip", "lzf"):
        raise DataError(f"compression is {compression!r}; it must be 'gzip', 'lzf' or None.")
    check_not_source(target, source)
    ds = open_dataset(source, mapping=mapping)
    origin = _origin(source, compression, mapping)
    complete = writable_target(target)
    part = complete.with_name(recognizable(complete.name) + PART)
    busy = f"{target} is being written by another repack"
    with explained(target), lock(part.with_name(f"{part.name}.lock"), busy):
        try:
            _write_part(ds, part, compression, origin, progress)
            os.replace(part, complete)
        except Exception:
            part.unlink(missing_ok=True)
            raise


def _write_part(
    ds: xr.Dataset, part: Path, compression: str | None, origin: str, progress: Progress
) -> None:
    """Create or continue the part, compare it with its source and remove the notes in it."""
    fields = [str(name) for name in ds.data_vars if ds[name].ndim > 1]
    if not _can_continue(part, origin):
        _create_part(ds, part, fields, compression, origin)
    total = sum(ds.sizes["sample"] for _ in fields)
    with open_to_extend(part) as file:
        _fill(ds, file, fields, total, progress)
    _verify(ds, part, fields, total, progress)
    with open_to_extend(part) as file:
        del file.attrs[SOURCE]
        for name in fields:
            del file.variables[name].attrs[SAMPLES_DONE]


def _origin(source: Path, compression: str | None, mapping: Any) -> str:
    """What a part must have been made from to be continued."""
    files = sorted(f for f in ([source] if source.is_file() else source.rglob("*")) if f.is_file())
    facts = [(str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return json.dumps([facts, compression, str(mapping)])


def _can_continue(part: Path, origin: str) -> bool:
    if not part.exists():
        return False
    try:
        with h5netcdf.File(part, "r") as file:
            return file.attrs.get(SOURCE) == origin
    except Exception:  # not closed properly, or not a file of this program
        return False


def _create_part(
    ds: xr.Dataset, part: Path, fields: list[str], compression: str | None, origin: str
) -> None:
    """The part without the values of the fields."""
    create_empty(ds, part, fields, compression)
    with open_to_extend(part) as file:
        for name in fields:
            file.variables[name].attrs[SAMPLES_DONE] = 0
        file.attrs[SOURCE] = origin


def _fill(
    ds: xr.Dataset,
    file: ExtendedFile,
    fields: list[str],
    total: int,
    progress: Progress,
) -> None:
    done = 0
    last_flush = time.monotonic()
    for name in fields:
        variable = file.variables[name]
        for sample in range(ds.sizes["sample"]):
            if sample >= int(variable.attrs[SAMPLES_DONE]):
                _copy_sample(ds[name], variable, sample)
                variable.attrs[SAMPLES_DONE] = sample + 1
                file.check()
                if time.monotonic() - last_flush > FLUSH_INTERVAL:
                    file.to_disk()
                    last_flush = time.monotonic()
            done += 1
            progress("write", done, total)


def _copy_sample(source: xr.DataArray, variable: h5netcdf.Variable, sample: int) -> None:
    first = 0
    for values in iter_blocks(source, sample):
        if "time" in source.dims:
            variable[sample, first : first + len(values)] = values
            first += len(values)
        else:
            variable[sample] = values


def _verify(ds: xr.Dataset, part: Path, fields: list[str], total: int, progress: Progress) -> None:
    done = 0
    with open_dataset(part) as written:
        for name in fields:
            for sample in range(ds.sizes["sample"]):
                blocks = iter_blocks(ds[name], sample)
                copies = iter_blocks(written[name], sample)
                if not all(_equal(a, b) for a, b in zip(blocks, copies, strict=True)):
                    raise DataError(
                        f"{part}: `{name}` of sample {sample} differs from the source. The copy "
                        "was removed; repack again."
                    )
                done += 1
                progress("verify", done, total)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
