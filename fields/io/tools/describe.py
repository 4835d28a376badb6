"""Describe a file: content, storage, reading speed; propose a mapping for unknown layouts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fields.io.concatenated import ConcatenatedArray
from fields.io.hdf5 import HDF5Handle
from fields.io.lazy import LazyArray, StoredArray, stored_array
from fields.io.mapping import is_mappable
from fields.io.opening import UnknownLayoutError, open_dataset
from fields.io.tools.proposal import propose_mapping

# The estimate of the reading speed ends after this many windows or seconds.
MAX_WINDOWS = 50
MAX_SECONDS = 0.5


def describe(path: Path, mapping: Mapping[str, Any] | str | Path | None = None) -> dict[str, Any]:
    """The content of a file as plain values that can be written as JSON.

    Args:
        path: a data file, or the directory of a dataset.
        mapping: for a file of an unknown layout.

    Returns:
        For a file of an unknown layout ``layout`` is None, and ``mapping`` is a proposal.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        ds = open_dataset(path, mapping=mapping)
    except UnknownLayoutError as error:
        if not is_mappable(path):
            raise
        proposal = propose_mapping(path)
        return {"path": str(path), "layout": None, "reason": error.reason, "mapping": proposal}
    variables = {str(name): _variable(ds[name]) for name in ds.data_vars}
    coords = {str(name): _coordinate(ds[name]) for name in ds.coords}
    content: dict[str, Any] = {
        "path": str(path),
        "layout": ds.attrs.get("layout"),
        "bytes": _bytes_on_disk(path),
        "problem": ds.attrs.get("problem", ""),
        "sizes": dict(ds.sizes),
    }
    content["attrs"] = {key: value for key, value in ds.attrs.items() if key not in content}
    content |= {"variables": variables, "coords": coords, "speed": _reading_speed(ds)}
    return content | {"advice": _advice(variables)}


def _bytes_on_disk(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _variable(array: xr.DataArray) -> dict[str, Any]:
    content: dict[str, Any] = {
        "dims": list(array.dims),
        "shape": list(array.shape),
        "dtype": str(array.dtype),
    }
    content |= {key: str(array.attrs.get(key, "")) for key in ("role", "units", "long_name")}
    if array.attrs.get("role") == "parameter":
        content["range"] = [float(array.min()), float(array.max())]
    return content | _storage(stored_array(array, packed=True))


def _storage(array: LazyArray | None) -> dict[str, Any]:
    """Chunks and compression of the HDF5 array behind a variable; empty for other formats."""
    while isinstance(array, ConcatenatedArray):
        array = array.parts[0]
    if not isinstance(array, StoredArray) or not isinstance(array.handle, HDF5Handle):
        return {}
    dataset = array.handle.array(array.name)
    chunks = dataset.chunks
    frame = [
        1 if axis is not None and i == 0 else dataset.shape[axis]
        for i, axis in enumerate(array.order)
        if axis is not None
    ]
    return {
        "chunks": list(chunks) if chunks else None,
        "compression": dataset.compression,
        "checksum": bool(dataset.fletcher32),
        "chunk_per_sample": float(np.prod(chunks) / max(np.prod(frame), 1)) if chunks else None,
        "place": f"/{array.name}",
    }


def _coordinate(array: xr.DataArray) -> dict[str, Any]:
    content: dict[str, Any] = {
        "dims": list(array.dims),
        "shape": list(array.shape),
        "units": str(array.attrs.get("units", "")),
    }
    for key in ("periodic", "bounds", "boundary", "long_name"):
        if key in array.attrs:
            content[key] = array.attrs[key]
    if array.ndim == 1 and array.size:
        steps = np.diff(array.values.astype(float))
        content["first"] = float(array[0])
        content["last"] = float(array[-1])
        content["uniform"] = bool(len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3))
    return content


def _reading_speed(ds: xr.Dataset) -> dict[str, float]:
    """Random windows of up to five frames (or one sample) of the largest variable."""
    array = max(ds.data_vars.values(), key=lambda v: v.nbytes)
    reader = stored_array(array, packed=True)
    if reader is None or array.ndim < 2:
        return {}
    rng = np.random.default_rng(0)
    frames = min(5, array.sizes.get("time", 1))
    windows = nbytes = 0
    reading = 0.0
    begin = time.perf_counter()
    while windows < MAX_WINDOWS and time.perf_counter() - begin < MAX_SECONDS:
        key: list[Any] = [slice(0, size) for size in array.shape]
        key[0] = int(rng.integers(array.shape[0]))
        if "time" in array.dims:
            first = int(rng.integers(array.sizes["time"] - frames + 1))
            key[array.dims.index("time")] = slice(first, first + frames)
        start = time.perf_counter()
        nbytes = reader.read(tuple(key)).nbytes
        reading += time.perf_counter() - start
        windows += 1
    return {
        "frames": frames,
        "windows_per_second": windows / reading,
        "megabytes_per_second": nbytes * windows / reading / 1e6,
    }


def _advice(variables: dict[str, Any]) -> list[str]:
    advice = []
    for name, content in variables.items():
        chunks = content.get("chunks")
        if not chunks:
            continue
        shape = content["shape"]
        chunk_size = int(np.prod(chunks))
        if "time" in content["dims"] and chunk_size * shape[1] > 4 * int(np.prod(shape[1:])):
            advice.append(
                f"`{name}`: each chunk spans many frames, all of which are decoded to read one. "
                "Run `python -m fields repack` to store one frame per chunk."
            )
        elif chunk_size < 2**10 < int(np.prod(shape[2:])):
            advice.append(
                f"`{name}`: with chunks as small as {chunks}, a frame takes many reads. "
                "Run `python -m fields repack` to store one frame per chunk."
            )
    return advice
