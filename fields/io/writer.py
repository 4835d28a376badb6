"""Files of our own layout that are filled piece by piece, for what is larger than memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5netcdf
import numpy as np
import xarray as xr

from fields.io.base import DataError, check
from fields.io.native import LIBVER, frame_encoding, write_native

Write = Callable[[str, slice, slice, np.ndarray], None]  # variable, samples, times, values


def create_empty(
    ds: xr.Dataset, path: Path, fields: Sequence[str], compression: str | None = None
) -> None:
    """A file with everything of ``ds`` but the values of these fields, whose places in it are empty."""
    write_native(ds.drop_vars(fields), path)
    with h5netcdf.File(path, "a", libver=LIBVER) as file:
        for name in fields:
            array = ds[name]
            if array.dtype.kind not in "biuf":
                raise DataError(f"`{name}` is of type {array.dtype}, which netCDF cannot store.")
            for dim, size in zip(array.dims, array.shape, strict=True):
                if dim not in file.dimensions:
                    file.dimensions[str(dim)] = size
            encoding = frame_encoding(array, compression)
            logical = array.dtype == bool
            variable = file.create_variable(
                name,
                tuple(map(str, array.dims)),
                np.int8 if logical else array.dtype,
                chunks=encoding["chunksizes"],
                fletcher32=encoding["fletcher32"],
                compression=compression,
                shuffle=compression is not None,
            )
            for key, value in array.attrs.items():
                variable.attrs[key] = (
                    np.asarray(value) if isinstance(value, tuple | list) else value
                )
            if logical:
                variable.attrs["dtype"] = "bool"


@contextmanager
def open_for_writing(ds: xr.Dataset, path: str | Path) -> Iterator[Write]:
    """Within this context fields over (sample, time, …) are written in any pieces; the file takes its name at the end.

    An interruption leaves nothing behind, and whatever had that name before as it was.

    Args:
        ds: canonical form; of the fields only dims, type and attributes matter, so that they may be
            arrays of stride 0.
        path: where to write.
    """
    path = Path(path)
    fields = [str(name) for name in check(ds, path).data_vars]
    part = path.with_name(path.name + ".part")
    try:
        create_empty(ds, part, fields)
        with h5netcdf.File(part, "a", libver=LIBVER) as file:

            def write(name: str, samples: slice, times: slice, values: np.ndarray) -> None:
                file.variables[name][samples, times] = values

            yield write
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
