"""Files of the native layout: canonical form as netCDF-4, chunked by frame, with checksums.

Any netCDF-4 or HDF5 program reads them. One chunk is one frame of one sample, so that reading a
window of frames reads exactly their chunks. Fletcher checksums, and the checksums of the headers in
the HDF5 1.10 file format, turn silent damage into an error. A file is written under a temporary
name and then renamed, so that an interrupted write never leaves an incomplete file, and through
`fields.io.output_file`, so that a full disk is an error of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr
from xarray.backends.h5netcdf_ import H5NetCDFStore

from fields.core.files import atomic_path
from fields.io.base import DataError, check_canonical
from fields.io.output_file import create_hdf5, open_to_extend
from fields.io.storable import storable

# Value of the attribute ``layout`` in the file.
NATIVE_LAYOUT = "bracketfields"

# Bytes per chunk; larger frames are divided along their first axis.
MAX_CHUNK = 64 * 2**20

# Arguments: name of the variable, samples, frames, values.
WriteBlock = Callable[[str, slice, slice, np.ndarray], None]


def write_dataset(ds: xr.Dataset, path: str | Path, *, compression: str | None = None) -> None:
    """Write a dataset in canonical form; an existing file is replaced when the new one is complete.

    Args:
        ds: dataset in canonical form. A lazy dataset is loaded into memory; to convert larger ones
            use ``python -m fields repack``, which streams them.
        path: the file to write.
        compression: ``gzip`` or ``lzf``; default none, which is fastest to read.

    Raises:
        DataError: the dataset is not in canonical form.
        WriteError: the file cannot be written; an existing one is unchanged.

    Example:
        >>> import tempfile
        >>> u = (("sample", "x"), np.zeros((3, 8)), {"role": "output"})
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> write_dataset(xr.Dataset({"u": u}, {"x": np.arange(8) / 8}), path)
        >>> from fields.io import open_dataset
        >>> dict(open_dataset(path).sizes)
        {'sample': 3, 'x': 8}
    """
    path = Path(path)
    check_canonical(ds, path)
    with atomic_path(path) as part:
        write_native(ds, part, compression)


@contextmanager
def open_for_writing(ds: xr.Dataset, path: str | Path) -> Iterator[WriteBlock]:
    """Write the fields of a new file in blocks, for datasets larger than memory.

    The file appears when the context is left. If the block raises, nothing is left behind and an
    existing file of that name is unchanged.

    Args:
        ds: dataset in canonical form. Of its fields only dimensions, type and attributes are used,
            so that they may be arrays of stride 0.
        path: the file to write.

    Yields:
        ``write(name, samples, frames, values)`` for fields over (sample, time, …).
    """
    path = Path(path)
    fields = [str(name) for name in check_canonical(ds, path).data_vars]
    with atomic_path(path) as part:
        create_empty(ds, part, fields)
        with open_to_extend(part) as file:

            def write(name: str, samples: slice, frames: slice, values: np.ndarray) -> None:
                file.variables[name][samples, frames] = values
                file.check()

            yield write


def write_native(ds: xr.Dataset, path: Path, compression: str | None = None) -> None:
    """Write a dataset to ``path`` in the native layout, without a temporary file."""
    ds = storable(ds)
    encoding = {str(name): frame_encoding(ds[name], compression) for name in ds.variables}
    create_hdf5(path)
    with open_to_extend(path) as file:
        native = ds.drop_encoding().assign_attrs(layout=NATIVE_LAYOUT)
        try:
            native.dump_to_store(H5NetCDFStore(file), encoding=encoding)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise DataError(f"The dataset cannot be stored as netCDF: {error}") from error


def create_empty(
    ds: xr.Dataset, path: Path, fields: Sequence[str], compression: str | None = None
) -> None:
    """Create a file with all of ``ds`` except the values of ``fields``, whose space is reserved."""
    ds = storable(ds)
    write_native(ds.drop_vars(fields), path)
    with open_to_extend(path) as file:
        for name in fields:
            _create_variable(file, name, ds[name], compression)


def _create_variable(
    file: h5netcdf.File, name: str, array: xr.DataArray, compression: str | None
) -> None:
    for dim, size in zip(array.dims, array.shape, strict=True):
        if dim not in file.dimensions:
            file.dimensions[str(dim)] = size
    encoding = frame_encoding(array, compression)
    boolean = array.dtype == bool
    variable = file.create_variable(
        name,
        tuple(map(str, array.dims)),
        np.int8 if boolean else array.dtype,
        chunks=encoding["chunksizes"],
        fletcher32=encoding["fletcher32"],
        compression=compression,
        shuffle=compression is not None,
    )
    for key, value in array.attrs.items():
        variable.attrs[key] = np.asarray(value) if isinstance(value, tuple | list) else value
    if boolean:
        variable.attrs["dtype"] = "bool"


def frame_encoding(array: xr.DataArray, compression: str | None = None) -> dict[str, Any]:
    """How a variable is stored: one chunk per frame for fields of many samples, else one chunk."""
    if array.dtype.kind in "USO":  # texts have no chunks, and times of cftime become numbers
        return {}
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
