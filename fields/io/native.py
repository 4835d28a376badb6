"""Our own layout: canonical form as netCDF-4, chunked by frame, with checksums.

Any netCDF-4 or HDF5 program reads it. One chunk is one frame of one sample, so that a window of
frames costs as many chunk reads; Fletcher checksums (and those of HDF5's newer file format) turn
silent damage into an error. Files
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

from fields.io.attributes import plain
from fields.io.base import ROLES, Reader, check
from fields.io.diagnose import is_hdf5
from fields.io.handles import HDF5Handle, open_hdf5
from fields.io.readers.netcdf import netcdf_variables

LAYOUT = "bracketfields"

LIBVER = (
    "v110",
    "v110",
)  # HDF5 1.10 has checksums in its headers; every netCDF-4 library of the last years reads it

MAX_CHUNK = 64 * 2**20  # bytes; larger frames are cut along their first axis


class NativeLayout(Reader):
    """netCDF-4 in canonical form, as :func:`write_dataset` writes it."""

    layout = LAYOUT

    def recognizes(self, path: Path) -> bool:
        """By the attribute ``layout``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return plain(file.attrs.get("layout", "")) == LAYOUT

    def open(self, path: Path) -> xr.Dataset:
        """Opens the file; no options."""
        handle = HDF5Handle(path)
        variables, attrs = netcdf_variables(handle)
        attrs.pop("coordinates", None)
        for variable in variables.values():
            variable.attrs.pop(
                "coordinates", None
            )  # where netCDF records which variables are coordinates of this one
        coords = {name: v for name, v in variables.items() if v.attrs.get("role") not in ROLES}
        data = {name: v for name, v in variables.items() if name not in coords}
        ds = xr.Dataset(data, coords, attrs)
        ds.set_close(handle.close)
        return check(ds, path)


def write_dataset(ds: xr.Dataset, path: str | Path, *, compression: str | None = None) -> None:
    """Writes a dataset in canonical form; an existing file is replaced when the new one is complete.

    Args:
        ds: canonical form, in memory or lazy (then it should fit in memory; ``repack`` streams what
            does not).
        path: where to write.
        compression: ``gzip`` or ``lzf``; default none, which is fastest to read.
    """
    path = Path(path)
    check(ds, path)
    part = path.with_name(path.name + ".part")
    try:
        write_native(ds, part, compression)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_native(ds: xr.Dataset, path: Path, compression: str | None = None) -> None:
    """Writes the dataset as a file of our layout at ``path``."""
    encoding = {str(name): frame_encoding(ds[name], compression) for name in ds.variables}
    _create(path)
    store = H5NetCDFStore.open(path, mode="a", driver_kwds={"libver": LIBVER})
    try:
        ds.drop_encoding().assign_attrs(layout=LAYOUT).dump_to_store(store, encoding=encoding)
    finally:
        store.close()


def _create(path: Path) -> None:
    """An empty file whose names keep the order they come in: coordinates have an order, (x, y, t), that the alphabet has not.

    Attributes do not keep theirs, because HDF5 then holds few of them. Of formats newer than 1.8
    HDF5 opens no file whose writer was killed, so the file begins as one.
    """
    order = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    order.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
    h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fcpl=order, fapl=access).close()


def frame_encoding(array: xr.DataArray, compression: str | None = None) -> dict[str, Any]:
    """How a variable is stored: frame by frame if it is a field of many samples, in one piece otherwise."""
    if array.ndim == 0:
        return {"_FillValue": None}
    if array.ndim < 2 or "sample" not in array.dims:
        return {"_FillValue": None, "chunksizes": array.shape, "fletcher32": True}
    chunks = [
        1 if dim in ("sample", "time") else size
        for dim, size in zip(array.dims, array.shape, strict=True)
    ]
    first = next((i for i, dim in enumerate(array.dims) if dim not in ("sample", "time")), 0)
    size = int(np.prod(chunks)) * array.dtype.itemsize
    chunks[first] = max(1, chunks[first] * MAX_CHUNK // max(size, MAX_CHUNK))
    packed = {"compression": compression, "shuffle": True} if compression else {}
    return {"_FillValue": None, "chunksizes": tuple(chunks), "fletcher32": True, **packed}
