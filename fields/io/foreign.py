"""What a path that cannot be opened is, as far as its name and its first bytes tell."""

from __future__ import annotations

import re
from pathlib import Path

from fields.io.signatures import is_hdf5, is_matlab5, is_netcdf3, is_npy, is_zip, read_prefix

# First bytes of files of other formats: what they are, and how to get them into a readable one.
FOREIGN = {
    b"<VTKFile": "a VTK file of meshes or grids (VTU, VTI, …)",
    b"<Xdmf": "an XDMF file, which describes arrays in other files",
    b"# vtk DataFile": "a VTK file in the legacy format",
    b"PAR1": "a Parquet table",
    b"GRIB": "a GRIB file",
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "compressed with gzip; decompress it first. It is a gzip file",
    b"BZh": "compressed with bzip2; decompress it first. It is a bzip2 file",
    b"\xfd7zXZ": "compressed with xz; decompress it first. It is an xz file",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
}

ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")

READABLE = "HDF5, netCDF, MATLAB, numpy or torch"


def is_url(text: str) -> bool:
    """Whether a text is a URL; :class:`~pathlib.Path` turns ``https://`` into ``https:/``.

    Example:
        >>> is_url("https:/zenodo.org/a.h5"), is_url("C:/data/a.h5")
        (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def foreign_format(path: Path) -> str | None:
    """What a file or folder is, if it is in a format that is recognized but not read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mesh.vtu"
        >>> _ = path.write_text('<?xml version="1.0"?><VTKFile type="UnstructuredGrid">')
        >>> foreign_format(path)
        'a VTK file of meshes or grids (VTU, VTI, …)'
    """
    if path.is_dir():
        return "a Zarr store" if any((path / name).exists() for name in ZARR_FILES) else None
    prefix = read_prefix(path).removeprefix(b"\xef\xbb\xbf").lstrip()
    if prefix.startswith(b"<?xml"):
        prefix = re.sub(rb"^(<\?.*?\?>|<!(--.*?--|[^>]*)>|\s)+", b"", prefix, flags=re.DOTALL)
    return next((name for start, name in FOREIGN.items() if prefix.startswith(start)), None)


def is_web_page(path: Path) -> bool:
    """Whether a file begins as HTML."""
    prefix = read_prefix(path).lstrip().lower()
    return prefix.startswith((b"<!doctype html", b"<html")) or b"<html" in prefix


def content_guess(path: Path) -> str:
    """A guess at the format of a file that no reader recognizes, worded as one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "d.csv"
        >>> _ = path.write_text("x,u\\n0,1\\n")
        >>> content_guess(path)
        "looks like a text file (it begins with 'x,u')"
    """
    if is_hdf5(path):
        return "is an HDF5 file"
    if is_netcdf3(path):
        return "is a netCDF-3 file"
    if is_matlab5(path):
        return "is a MATLAB file of version 5"
    if is_npy(path):
        return "is a numpy array"
    if is_zip(path):
        return "is a zip archive, as torch.save and numpy.savez write it"
    prefix = read_prefix(path)
    if prefix[:1] == b"\x80" and prefix[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "looks like a Python pickle"
    try:
        first = prefix.decode().splitlines()[0].strip()
    except (UnicodeDecodeError, IndexError):
        return f"begins with the bytes {prefix[:8].hex(' ')}"
    return f"looks like a text file (it begins with {first[:40]!r})"
