"""Every file layout, opened into the same lazy dataset (canonical form: see :mod:`fields.io.base`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from fields.io.base import SPLITS, DataError, Reader
from fields.io.diagnose import diagnose
from fields.io.lazy import stored_array
from fields.io.neuralop_pt import NeuralopPt
from fields.io.own import OwnLayout, write_dataset
from fields.io.pdebench import PDEBenchFlat

__all__ = ["READERS", "SPLITS", "DataError", "Reader", "open_dataset", "stored_array", "write_dataset"]

READERS: tuple[Reader, ...] = (OwnLayout(), PDEBenchFlat(), NeuralopPt())  # asked in this order


def open_dataset(path: str | Path, **reader_options: Any) -> xr.Dataset:
    """Opens a file of any known layout, recognised by its content, without reading its fields.

    Args:
        path: the file, or a directory of a layout that is one.
        reader_options: passed to the layout's reader, such as ``periodic=True``.

    Returns:
        A lazy dataset in canonical form. It may be pickled and used in forked processes: each opens the file for
        itself.

    Raises:
        DataError: the file is damaged or of no known layout; the message says which and what to do.
    """
    path = Path(path)
    diagnose(path)
    return _opened(find_reader(path), path, reader_options)


def find_reader(path: Path) -> Reader:
    """The reader whose layout the content has."""
    for reader in READERS:
        try:
            if reader.recognises(path):
                return reader
        except DataError:
            raise
        except Exception as error:  # a damaged file may raise anything while it is being looked at
            raise DataError(
                f"{path} cannot be read ({type(error).__name__}: {error}). It is damaged: get it again."
            ) from error
    raise DataError(f"{path} has no known layout. Known are {', '.join(reader.layout for reader in READERS)}.")


def _opened(reader: Reader, path: Path, options: dict[str, Any]) -> xr.Dataset:
    try:
        return reader.open(path, **options)
    except DataError:
        raise
    except Exception as error:  # what libraries raise on damaged files is not documented
        raise DataError(
            f"{path} looks like layout {reader.layout} but cannot be opened ({type(error).__name__}: {error}). "
            "A part is missing or damaged: get it again."
        ) from error
