"""Every file layout, opened into the same lazy dataset (canonical form: see :mod:`fields.io.base`)."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import xarray as xr

from fields.io.base import ROLES, SPLITS, DataError, Reader
from fields.io.diagnose import diagnose
from fields.io.lazy import stored_array
from fields.io.mapping import open_mapped
from fields.io.native import NativeLayout, write_dataset
from fields.io.readers.apebench import APEBench
from fields.io.readers.dino import DinoShelf, DinoSphere
from fields.io.readers.fno_mat import FnoMat
from fields.io.readers.geo_fno import GeoFno
from fields.io.readers.netcdf import NetCDF
from fields.io.readers.neuralop_pt import NeuralopPt
from fields.io.readers.pdearena import PDEArena, PDEArenaSphere
from fields.io.readers.pdebench import PDEBenchFlat
from fields.io.readers.pdebench_groups import PDEBenchGroups, PDEBenchIncompressible
from fields.io.readers.point_cloud import PointCloud
from fields.io.readers.surfaces import Surfaces
from fields.io.readers.the_well import TheWell

__all__ = [
    "READERS",
    "SPLITS",
    "DataError",
    "Reader",
    "open_dataset",
    "stored_array",
    "write_dataset",
]

READERS: tuple[Reader, ...] = (  # asked in this order: the most specific content first
    NativeLayout(),
    TheWell(),
    PDEBenchFlat(),
    PDEBenchIncompressible(),
    PDEArena(),
    PDEArenaSphere(),
    DinoSphere(),
    PDEBenchGroups(),
    NeuralopPt(),
    Surfaces(),
    FnoMat(),
    GeoFno(),
    APEBench(),
    PointCloud(),
    NetCDF(),
    DinoShelf(),
)


def open_dataset(
    path: str | Path,
    *,
    mapping: Mapping[str, Any] | str | Path | None = None,
    roles: Mapping[str, str] | None = None,
    **reader_options: Any,
) -> xr.Dataset:
    """Opens a file of any known layout, recognized by its content, without reading its fields.

    Args:
        path: the file, or a directory of a layout that is one.
        mapping: for a file of unknown layout: which of its arrays are what (see
            :mod:`fields.io.mapping`).
        roles: role of variables where the layout's own choice is not yours, such as ``{"u":
            "input"}``.
        reader_options: passed to the layout's reader, such as ``periodic=True``.

    Returns:
        A lazy dataset in canonical form. It may be pickled and used in forked processes: each opens
        the file itself.

    Raises:
        DataError: the file is damaged or of no known layout; the message says which and what to do.
    """
    path = Path(path)
    diagnose(path)
    if mapping is not None:
        ds = _guarded(path, "the mapping", lambda: open_mapped(path, mapping))
    else:
        reader = find_reader(path)
        _check_options(reader, reader_options)
        ds = _guarded(path, f"layout {reader.layout}", lambda: reader.open(path, **reader_options))
    for name, role in (roles or {}).items():
        if name not in ds.data_vars or role not in ROLES:
            raise DataError(
                f"roles={{{name!r}: {role!r}}}: variables are {list(ds.data_vars)}, roles are {ROLES}."
            )
        ds[name].attrs["role"] = role
    return ds


def find_reader(path: Path) -> Reader:
    """The reader whose layout the content has."""
    for reader in READERS:
        if _guarded(path, f"layout {reader.layout}", lambda reader=reader: reader.recognizes(path)):
            return reader
    if path.is_dir():
        raise DataError(
            f"{path} is a directory, and no dataset of folders train, valid, test. Give one file of it."
        )
    raise DataError(
        f"{path} has no known layout; known are {', '.join(reader.layout for reader in READERS)}. "
        f"Open it with a mapping of its arrays: `python -m fields inspect {path}` proposes one."
    )


def _guarded(path: Path, what: str, action: Any) -> Any:
    """``action()``, with whatever a damaged file makes libraries raise turned into a :class:`DataError`."""
    try:
        return action()
    except DataError:
        raise
    except (
        Exception
    ) as error:  # what HDF5, torch, scipy and zip raise on damaged files is not documented
        raise DataError(
            f"{path} cannot be opened as {what} ({type(error).__name__}: {error}). "
            "A part of it is missing or damaged: get it again."
        ) from error


def _check_options(reader: Reader, options: dict[str, Any]) -> None:
    known = [name for name in signature(reader.open).parameters if name != "path"]
    for name in options:
        if name not in known:
            raise DataError(
                f"Layout {reader.layout} has no option `{name}`; it has {', '.join(known) or 'none'}."
            )
