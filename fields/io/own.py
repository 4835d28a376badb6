"""Our own layout: canonical form as netCDF-4, chunked by frame, with checksums.

Any netCDF-4 or HDF5 program reads it. One chunk is one frame of one sample, so that a window of frames costs as many
chunk reads; Fletcher checksums (and those of HDF5's newer file format) turn silent damage into an error. Files
appear whole or not at all: they are written beside their place and then moved.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends.h5netcdf_ import H5NetCDFStore

from fields.io.base import ROLES, DataError, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy

LAYOUT = "bracketfields"
MAX_CHUNK = 64 * 2**20  # bytes; larger frames are cut along their first axis


class OwnLayout(Reader):
    """netCDF-4 in canonical form, as :func:`write_dataset` writes it."""

    layout = LAYOUT

    def recognises(self, path: Path) -> bool:
        """By the attribute ``layout``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return plain(file.attrs.get("layout", "")) == LAYOUT

    def open(self, path: Path, **options: Any) -> xr.Dataset:
        """Opens the file; no options."""
        handle = HDF5Handle(path)
        variables, attrs = netcdf_variables(handle)
        for variable in variables.values():
            variable.attrs.pop("coordinates", None)  # where netCDF records which variables are coordinates of this one
        coords = {name: v for name, v in variables.items() if v.attrs.get("role") not in ROLES}
        data = {name: v for name, v in variables.items() if name not in coords}
        ds = xr.Dataset(data, coords, attrs)
        ds.set_close(handle.close)
        return check(ds, path)


def netcdf_variables(handle: HDF5Handle) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """The root group of a netCDF-4 file as raw lazy variables (1-D coordinates are loaded), and its attributes."""
    hidden = (
        "DIMENSION_LIST",
        "REFERENCE_LIST",
        "CLASS",
        "NAME",
        "_Netcdf4Dimid",
        "_Netcdf4Coordinates",
        "_nc3_strict",
    )
    variables = {}
    for name, dataset in handle.file.items():
        if not isinstance(dataset, h5py.Dataset) or _is_bare_dim(dataset):
            continue
        dims = tuple(_dim_name(dataset, axis) for axis in range(dataset.ndim)) if not dataset.is_scale else (name,)
        attrs = {key: plain(value) for key, value in dataset.attrs.items() if key not in hidden}
        dtype = bool if attrs.get("dtype") == "bool" else None
        attrs.pop("dtype", None)
        variable = lazy(dims, StoredArray(handle, name, dtype=dtype), attrs)
        variables[name] = variable.load() if dims == (name,) else variable
    root = {key: plain(value) for key, value in handle.file.attrs.items() if not key.startswith("_NC")}
    return variables, root


def _is_bare_dim(dataset: h5py.Dataset) -> bool:
    return plain(dataset.attrs.get("NAME", "")).startswith("This is a netCDF dimension but not a netCDF variable")


def _dim_name(dataset: h5py.Dataset, axis: int) -> str:
    scales = dataset.dims[axis]
    if not len(scales):
        raise DataError(
            f"{dataset.file.filename}: axis {axis} of `{dataset.name}` has no dimension name, so it is no netCDF-4."
        )
    return scales[0].name.rsplit("/", 1)[-1]


def plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value: text, number, or tuple of them."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        items = tuple(plain(item) for item in value.ravel().tolist())
        return items[0] if len(items) == 1 else items
    return value


def write_dataset(ds: xr.Dataset, path: str | Path, *, compression: str | None = None) -> None:
    """Writes a dataset in canonical form; an existing file is replaced when the new one is complete.

    Args:
        ds: canonical form, in memory or lazy (then it should fit in memory; ``repack`` streams what does not).
        path: where to write.
        compression: ``gzip`` or ``lzf``; default none, which is fastest to read.
    """
    path = Path(path)
    check(ds, path)
    part = path.with_name(path.name + ".part")
    stored = ds.drop_encoding().assign_attrs(layout=LAYOUT)
    encoding = {str(name): frame_encoding(ds[name], compression) for name in ds.variables}
    try:
        # HDF5's format of version 1.10 has checksums in its headers; every netCDF-4 library of the last years reads it.
        store = H5NetCDFStore.open(part, mode="w", open_kwargs={"libver": ("v110", "v110")})
        try:
            stored.dump_to_store(store, encoding=encoding)
        finally:
            store.close()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def frame_encoding(array: xr.DataArray, compression: str | None = None) -> dict[str, Any]:
    """How a variable is stored: frame by frame if it is a field of many samples, in one piece otherwise."""
    if array.ndim < 2 or "sample" not in array.dims:
        return {"_FillValue": None}
    chunks = [1 if dim in ("sample", "time") else size for dim, size in zip(array.dims, array.shape, strict=True)]
    first = next((i for i, dim in enumerate(array.dims) if dim not in ("sample", "time")), 0)
    size = int(np.prod(chunks)) * array.dtype.itemsize
    chunks[first] = max(1, chunks[first] * MAX_CHUNK // max(size, MAX_CHUNK))
    packed = {"compression": compression, "shuffle": True} if compression else {}
    return {"_FillValue": None, "chunksizes": tuple(chunks), "fletcher32": True, **packed}
