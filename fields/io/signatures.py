"""File formats recognized by their first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

MAX_USER_BLOCK = 2**24

PREFIX_LENGTH = 600


def read_prefix(path: Path, length: int = PREFIX_LENGTH) -> bytes:
    """The first ``length`` bytes of a file; empty for a directory."""
    if path.is_dir():
        return b""
    with open(path, "rb") as file:
        return file.read(length)


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, with its signature at byte 0 or behind a user block.

    A user block has 512, 1024, 2048, … bytes; MATLAB writes one of 512.
    """
    if path.is_dir():
        return False
    with open(path, "rb") as file:
        start = 0
        while signature := _read_at(file, start, len(HDF5_SIGNATURE)):
            if signature == HDF5_SIGNATURE:
                return True
            start = 2 * start or 512
            if start > MAX_USER_BLOCK:
                return False
    return False


def _read_at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, as ``torch.save`` and ``numpy.savez`` write it."""
    return read_prefix(path, 4) == b"PK\x03\x04"


def is_npy(path: Path) -> bool:
    """Whether a file is a single numpy array, as ``numpy.save`` writes it."""
    return read_prefix(path, 6) == b"\x93NUMPY"


def is_netcdf3(path: Path) -> bool:
    """Whether a file is netCDF-3 (classic format)."""
    return read_prefix(path, 3) == b"CDF"


def is_matlab5(path: Path) -> bool:
    """Whether a file is a MATLAB file of version 5."""
    return read_prefix(path).startswith(b"MATLAB 5.0 MAT-file")
