"""HDF5 files: opened despite missing locks, attributes as Python values, compression checked."""

from __future__ import annotations

import contextlib
import errno
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fields.io.base import DataError
from fields.io.handles import Handle

# Bytes per array: the chunk of one trajectory fits, so that neighboring frames are decoded once.
CHUNK_CACHE = 32 * 2**20

# Errors of file systems that have no locks or are mounted read-only.
NO_LOCKS = (errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# Registered HDF5 filters that the package hdf5plugin provides.
PLUGIN_FILTERS = {
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}


class HDF5Handle(Handle):
    """An HDF5 file; a missing compression filter is reported before anything is read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["run/u"] = np.zeros((2, 3))
        >>> HDF5Handle(path).array("run/u").shape
        (2, 3)
    """

    def open_file(self) -> h5py.File:
        """Open the file for reading."""
        return open_hdf5(self.path)

    def find_array(self, file: h5py.File, name: str) -> h5py.Dataset:
        """Return the HDF5 dataset called ``name`` after checking that it can be read.

        Raises:
            DataError: it does not exist, is not numeric, is compressed with a filter that is not
                installed, or its values are missing from the file.
        """
        if name not in file or not isinstance(dataset := file[name], h5py.Dataset):
            raise DataError(
                f"{self.path} has no array `{name}`. The top level of the file contains "
                f"{', '.join(sorted(file))}."
            )
        if dataset.shape is None or dataset.dtype.kind not in "biufc":
            raise DataError(
                f"{self.path}: the array `{name}` is not numeric, its type is "
                f"{dataset.dtype or 'empty'}."
            )
        _require_filters(dataset, self.path)
        stored = dataset.id.get_storage_size()
        expected = dataset.size * dataset.dtype.itemsize
        # Such as a CF grid mapping: a scalar without a value, whose content is its attributes.
        attributes_only = dataset.shape == () and stored == 0
        if dataset.chunks is None and stored != expected and not attributes_only:
            raise DataError(
                f"{self.path}: the array `{name}` of shape {dataset.shape} should have {expected} "
                f"bytes, but the file stores {stored}. Download or generate the file again."
            )
        return dataset


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading, with a warning if another program has it open for writing.

    Raises:
        DataError: the file is locked by a program that is writing it.
    """
    options: dict[str, Any] = {"rdcc_nbytes": CHUNK_CACHE, "rdcc_nslots": 8191}
    try:
        return h5py.File(path, "r", **options)
    except BlockingIOError:
        warnings.warn(
            f"{path} is open for writing in another program. What is read may be incomplete.",
            stacklevel=2,
        )
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        return h5py.File(path, "r", **options, locking=False)
    except OSError as error:
        raise DataError(
            f"{path} is locked by another program that is writing it ({error}). "
            "Wait until that program has finished."
        ) from error


def get_group(file: h5py.Group, name: str) -> h5py.Group | None:
    """The group called ``name``; None if the file has nothing of that name.

    Raises:
        DataError: ``name`` is an array.
    """
    found = file.get(name)
    if found is None or isinstance(found, h5py.Group):
        return found
    raise DataError(
        f"{file.file.filename}: `{name}` is not a group. The file has another layout or is damaged."
    )


def attribute_value(value: Any) -> Any:
    """An HDF5 attribute as text, a number, or a tuple of them.

    Example:
        >>> attribute_value(np.array([b"x", b"y"]))
        ('x', 'y')
        >>> attribute_value(np.array([3]))
        3
    """
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.generic):
        return attribute_value(value.item())
    if isinstance(value, np.ndarray):
        items = tuple(attribute_value(item) for item in value.ravel().tolist())
        return items[0] if len(items) == 1 else items
    return value


def _require_filters(dataset: h5py.Dataset, path: Path) -> None:
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
