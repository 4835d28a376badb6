"""Says in one sentence why a path is no data file, before any library is asked to open it."""

from __future__ import annotations

from pathlib import Path

from fields.io.base import DataError
from fields.io.handles import open_hdf5

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def head(path: Path, length: int = 600) -> bytes:
    """The first bytes of a file; none of a directory."""
    if path.is_dir():
        return b""
    with open(path, "rb") as file:
        return file.read(length)


def is_hdf5(path: Path) -> bool:
    """Whether the content is HDF5: the signature is at 0, or behind a user block as MATLAB writes it (at 512)."""
    start = head(path)
    return start.startswith(HDF5_SIGNATURE) or start[512:520] == HDF5_SIGNATURE


def is_zip(path: Path) -> bool:
    """Whether the content is a zip archive, as ``torch.save`` and ``numpy.savez`` write."""
    return head(path, 4) == b"PK\x03\x04"


def diagnose(path: Path) -> None:
    """Raises a :class:`DataError` for a path that is certainly no readable data file."""
    if not path.exists():
        raise DataError(f"{path} does not exist (working directory {Path.cwd()}).")
    if path.is_dir():
        return
    try:
        start = head(path)
    except PermissionError as error:
        raise DataError(f"{path} may not be read by this user. Change its permissions.") from error
    if not start:
        raise DataError(
            f"{path} is empty: the download or the program that wrote it was interrupted. Get it again."
        )
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(
            f"{path} is a web page, not data: the download link led to a page. Open it in a browser to see why."
        )
    if start.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path} is a git-lfs pointer, not the data itself. Run `git lfs pull` in its repository."
        )
    if is_hdf5(path):
        _diagnose_hdf5(path)


def _diagnose_hdf5(path: Path) -> None:
    try:
        open_hdf5(path).close()
    except DataError:
        raise
    except (
        Exception
    ) as error:  # damaged files raise OSError, RuntimeError or KeyError, with HDF5's own words
        if "truncated file" in str(error):
            raise DataError(
                f"{path} is cut short: it has {path.stat().st_size} bytes ({error}). Get it again."
            ) from error
        raise DataError(
            f"{path} begins like HDF5 but cannot be opened ({error}). It is damaged: get it again."
        ) from error
