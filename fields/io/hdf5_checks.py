"""Checks of HDF5 arrays before they are read: where their values are, and whether they can be read.

An HDF5 file can refer to other files by external links, by external storage and by virtual arrays.
A file from an unknown source must not make this program read other files of the machine. External
links and storage are therefore refused unless the caller allows them, and the parts of a virtual
array must be in the folder of the file or below it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import h5py
import h5py.h5l

from fields.io.base import DataError

# Whether the files that are being opened may refer to other files.
allow_external_files: ContextVar[bool] = ContextVar("allow_external_files", default=False)

# Registered HDF5 filters that the package hdf5plugin provides.
PLUGIN_FILTERS = {
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}

# Links that are examined when a file is opened, and soft links that may follow one another.
MAX_LINKS = 1000
MAX_SOFT_LINKS = 16


@contextlib.contextmanager
def external_files(*, allowed: bool) -> Iterator[None]:
    """Within this context, files may or may not refer to other files.

    Example:
        >>> with external_files(allowed=True):
        ...     allow_external_files.get()
        True
    """
    token = allow_external_files.set(allowed)
    try:
        yield
    finally:
        allow_external_files.reset(token)


def refuse_external_links(file: h5py.File, path: Path) -> None:
    """Examine the first links of a file.

    Raises:
        DataError: one of them leads into another file; the message names it.
    """
    names: list[str] = []
    seen = 0

    def visit(name: bytes, info: h5py.h5l.LinkInfo) -> bool | None:
        nonlocal seen
        seen += 1
        if info.type == h5py.h5l.TYPE_EXTERNAL:
            names.append(name.decode(errors="replace"))
        return True if names or seen >= MAX_LINKS else None

    file.id.links.visit(visit, info=True)
    for name in names:
        refuse_link_outside(file, name, path)


def refuse_link_outside(file: h5py.File, name: str, path: Path) -> None:
    """Follow the links to the object called ``name``, without opening it.

    Raises:
        DataError: one of them leads into another file; the message names it.
    """
    words = [word for word in name.split("/") if word]
    place = ""
    followed = 0
    while words:
        place = f"{place}/{words.pop(0)}"
        link = file.get(place, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}: `{place}` is a link to `{link.path}` in another file, {link.filename}. "
                "If you trust this file, open it with `allow_external=True`."
            )
        if isinstance(link, h5py.SoftLink):
            followed += 1
            if followed > MAX_SOFT_LINKS:
                raise DataError(f"{path}: `{name}` is a link that leads back to itself.")
            target = link.path if link.path.startswith("/") else f"{_parent(place)}/{link.path}"
            words = [word for word in target.split("/") if word] + words
            place = ""


def _parent(place: str) -> str:
    return place.rsplit("/", 1)[0]


def refuse_external_storage(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse an array whose values are in another file that is not a part of it.

    Raises:
        DataError: its values are in other files; the message names the first one.
    """
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        name = properties.get_external(0)[0].decode(errors="replace")
        raise DataError(
            f"{path}: the values of `{dataset.name}` are in another file, {name}. If you trust "
            "this file, open it with `allow_external=True`."
        )
    for source in virtual_sources(dataset, path):
        if not source.resolve().is_relative_to(path.parent.resolve()):
            raise DataError(
                f"{path}: the values of `{dataset.name}` are in {source}, outside the folder of "
                "the file. If you trust this file, open it with `allow_external=True`."
            )


def require_virtual_sources(dataset: h5py.Dataset, path: Path) -> None:
    """Check that the files of a virtual array exist; HDF5 reads zeros in their place.

    Raises:
        DataError: one is missing.
    """
    missing = [source for source in virtual_sources(dataset, path) if not source.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{path}: `{dataset.name}` is a virtual array, and its part {missing[0]} does not "
            f"exist{more}. Put it into its place."
        )


def virtual_sources(dataset: h5py.Dataset, path: Path) -> list[Path]:
    """The other files that contain the values of a virtual array."""
    if not dataset.is_virtual:
        return []
    names = sorted({source.file_name for source in dataset.virtual_sources()})
    # A name with %b stands for numbered files; the first one must exist.
    named = [name.replace("%b", "0") for name in names if name != "."]
    return [path.parent / name for name in named]


def require_filters(dataset: h5py.Dataset, path: Path) -> None:
    """Check that the filters of an array are installed.

    Raises:
        DataError: one is missing; the message says how to install it.
    """
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code = properties.get_filter(i)[0]
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(ImportError):
            # Importing the package registers its filters with HDF5.
            import hdf5plugin  # noqa: F401  # pyright: ignore[reportMissingImports]
        if h5py.h5z.filter_avail(code):
            continue
        if code in PLUGIN_FILTERS:
            method = PLUGIN_FILTERS[code]
            remedy = "Run `pip install hdf5plugin` and try again."
        else:
            method = "a method unknown to this program"
            remedy = "Install the HDF5 plugin that provides this filter."
        raise DataError(
            f"{path}: `{dataset.name}` is compressed with {method} (HDF5 filter {code}), "
            f"which is not installed. {remedy}"
        )
