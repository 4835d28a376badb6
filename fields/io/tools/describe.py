"""What a file holds, how it is stored, how fast windows of it are read; for unknown HDF5, a mapping to start from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io import open_dataset
from fields.io.base import DataError
from fields.io.concatenated import ConcatenatedArray
from fields.io.diagnose import diagnose, is_hdf5
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.lazy import LazyArray, StoredArray, stored_array

TRIALS, BUDGET = 50, 0.5  # windows read for the speed estimate, and seconds at most


def describe(path: Path, mapping: Mapping[str, Any] | str | Path | None = None) -> dict[str, Any]:
    """Everything about a file, as plain values ready for JSON."""
    diagnose(path)
    try:
        ds = open_dataset(path, mapping=mapping)
    except DataError as error:
        if mapping is not None or not is_hdf5(path):
            raise
        return {
            "path": str(path),
            "layout": None,
            "reason": str(error),
            "mapping": propose_mapping(path),
        }
    variables = {str(name): _variable(ds[name]) for name in ds.data_vars}
    coords = {str(name): _coordinate(ds[name]) for name in ds.coords}
    about: dict[str, Any] = {
        "path": str(path),
        "layout": ds.attrs.get("layout"),
        "bytes": _size(path),
    }
    about |= {"problem": ds.attrs.get("problem", ""), "sizes": dict(ds.sizes)}
    about |= {"attrs": {key: value for key, value in ds.attrs.items() if key not in about}}
    about |= {"variables": variables, "coords": coords, "speed": _speed(ds)}
    return about | {"advice": _advice(variables)}


def _size(path: Path) -> int:
    return sum(
        file.stat().st_size
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )


def _variable(array: xr.DataArray) -> dict[str, Any]:
    about = {"dims": list(array.dims), "shape": list(array.shape), "dtype": str(array.dtype)}
    about |= {key: str(array.attrs.get(key, "")) for key in ("role", "units", "long_name")}
    if array.attrs.get("role") == "parameter":
        about["range"] = [float(array.min()), float(array.max())]
    return about | _storage(stored_array(array, packed=True))


def _storage(array: LazyArray | None) -> dict[str, Any]:
    """Chunks and compression of the HDF5 array behind a variable, with the stored axes' names where they are views."""
    while isinstance(array, ConcatenatedArray):
        array = array.parts[0]
    if not isinstance(array, StoredArray) or not isinstance(array.handle, HDF5Handle):
        return {}
    dataset = array.handle.array(array.name)
    frame = [
        1 if i is not None and n == 0 else dataset.shape[i]
        for n, i in enumerate(array.order)
        if i is not None
    ]
    return {
        "chunks": list(dataset.chunks) if dataset.chunks else None,
        "compression": dataset.compression,
        "checksum": bool(dataset.fletcher32),
        "chunk_per_sample": float(np.prod(dataset.chunks) / max(np.prod(frame), 1))
        if dataset.chunks
        else None,
        "place": f"/{array.name}",
    }


def _coordinate(array: xr.DataArray) -> dict[str, Any]:
    about: dict[str, Any] = {
        "dims": list(array.dims),
        "shape": list(array.shape),
        "units": str(array.attrs.get("units", "")),
    }
    about |= {
        key: array.attrs[key]
        for key in ("periodic", "bounds", "boundary", "long_name")
        if key in array.attrs
    }
    if array.ndim == 1 and array.size:
        about |= {"first": float(array[0]), "last": float(array[-1])}
        steps = np.diff(array.values.astype(float))
        about["uniform"] = bool(len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3))
    return about


def _speed(ds: xr.Dataset) -> dict[str, float]:
    """Windows of five frames (or one sample) of the largest variable, read at random places."""
    array = max(ds.data_vars.values(), key=lambda v: v.nbytes)
    reader = stored_array(array, packed=True)
    if reader is None or array.ndim < 2:
        return {}
    rng, frames = np.random.default_rng(0), min(5, array.sizes.get("time", 1))
    read = reading = 0.0
    begin = time.perf_counter()
    while read < TRIALS and time.perf_counter() - begin < BUDGET:
        key: list[Any] = [slice(0, size) for size in array.shape]
        key[0] = int(rng.integers(array.shape[0]))
        if "time" in array.dims:
            first = int(rng.integers(array.sizes["time"] - frames + 1))
            key[array.dims.index("time")] = slice(first, first + frames)
        start = time.perf_counter()
        nbytes = reader.read(tuple(key)).nbytes
        reading, read = reading + time.perf_counter() - start, read + 1
    return {
        "frames": frames,
        "windows_per_second": read / reading,
        "megabytes_per_second": nbytes * read / reading / 1e6,
    }


def _advice(variables: dict[str, Any]) -> list[str]:
    advice = []
    for name, about in variables.items():
        chunks, shape = about.get("chunks"), about["shape"]
        if (
            chunks
            and "time" in about["dims"]
            and int(np.prod(chunks)) * shape[1] > 4 * int(np.prod(shape[1:]))
        ):
            advice.append(
                f"`{name}`: one chunk spans many frames, so one frame costs them all: `repack` it."
            )
        elif chunks and int(np.prod(chunks)) < 2**10 < int(np.prod(shape[2:])):
            advice.append(
                f"`{name}`: chunks of {chunks} are tiny, so a frame takes many reads: `repack` it."
            )
    return advice


def propose_mapping(path: Path) -> dict[str, Any]:
    """A mapping for an unknown HDF5 file: its largest arrays are fields, vectors of equal length coordinates."""
    arrays: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and item.dtype.kind in "biufc":
            arrays[f"/{name}"] = item.shape

    with open_hdf5(path) as file:
        file.visititems(visit)
    if not arrays:
        raise DataError(f"{path} is HDF5, but it holds no arrays of numbers.")
    rank = max(len(shape) for shape in arrays.values())
    fields = {place: shape for place, shape in arrays.items() if len(shape) == rank}
    vectors = {place: shape[0] for place, shape in arrays.items() if len(shape) == 1}
    shape = max(fields.values(), key=lambda s: int(np.prod(s)))
    dims = _guess_dims(shape, vectors)
    coords: dict[str, str] = {}
    for dim, size in zip(dims, shape, strict=True):
        near = [
            p
            for p, n in vectors.items()
            if n in (size, size + (dim == "time")) and _letter(p) == dim[0]
        ]
        if near and dim != "sample":
            coords[dim] = near[0]
    named = {place.rsplit("/", 1)[-1]: place for place, s in fields.items() if s == shape}
    return {"dims": dims, "fields": named, "coords": coords}


def _letter(place: str) -> str:
    return place.rsplit("/", 1)[-1][:1].lower()


def _guess_dims(shape: tuple[int, ...], vectors: dict[str, int]) -> list[str]:
    """Sample first; time second if a vector called t… has its length; the rest are space."""
    times = {size for place, size in vectors.items() if _letter(place) == "t"}
    lead = ["sample"]
    if len(shape) > 2 and {shape[1], shape[1] + 1} & times:
        lead.append("time")
    space = len(shape) - len(lead)
    return lead[: len(shape)] + (
        ["x", "y", "z"][:space] if space <= 3 else [f"x{i}" for i in range(space)]
    )
