"""HDF5 files: opened despite missing locks and damaged parts, attributes as Python values.

Names, shapes and attributes are read through :func:`open_hdf5`, which guards against damaged heaps;
values through :func:`open_values`, which is faster.
"""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fields.io.base import DataError
from fields.io.guarded_file import GuardedFile
from fields.io.handles import Handle
from fields.io.hdf5_checks import (
    allow_external_files,
    external_files,
    refuse_external_storage,
    refuse_link_outside,
    require_filters,
    require_virtual_sources,
)

# Bytes per array: the chunk of one trajectory fits, so that neighboring frames are decoded once.
CHUNK_CACHE = 32 * 2**20

# Errors of file systems that have no locks or are mounted read-only.
NO_LOCKS = (errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# What HDF5 says of a file that its writer has not closed.
NOT_CLOSED = ("already open for write", "already open for SWMR")


class HDF5Handle(Handle):
    """An HDF5 file; arrays that cannot or must not be read are refused when they are requested.

    ``file`` gives names, shapes and attributes; values are read from :meth:`array`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["run/u"] = np.zeros((2, 3))
        >>> HDF5Handle(path).array("run/u").shape
        (2, 3)
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.allow_external = allow_external_files.get()
        # By process id: the file from which values are read.
        self._values: dict[int, h5py.File] = {}

    def open_file(self) -> h5py.File:
        """Open the file for reading names, shapes and attributes."""
        with external_files(allowed=self.allow_external):
            return open_hdf5(self.path)

    def find_array(self, file: h5py.File, name: str) -> h5py.Dataset:
        """Return the HDF5 dataset called ``name`` after checking that it can be read.

        Raises:
            DataError: it does not exist, is not numeric, its values are missing or in another file,
                or it is compressed with a filter that is not installed.
        """
        if not self.allow_external:
            refuse_link_outside(file, name, self.path)
        dataset = get_item(file, name)
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(
                f"{self.path} has no array `{name}`. The top level of the file contains "
                f"{', '.join(sorted(file))}."
            )
        if dataset.shape is None or dataset.dtype.kind not in "biufc":
            raise DataError(
                f"{self.path}: the array `{name}` is not numeric, its type is "
                f"{dataset.dtype or 'empty'}."
            )
        require_filters(dataset, self.path)
        if not self.allow_external:
            refuse_external_storage(dataset, self.path)
        if dataset.is_virtual:
            require_virtual_sources(dataset, self.path)
        else:
            _require_values(dataset, self.path)
        stored: Any = self._values_file()[name]
        return stored

    def _values_file(self) -> h5py.File:
        process = os.getpid()
        if process not in self._values:
            self._values[process] = open_values(self.path)
        return self._values[process]

    def close(self) -> None:
        """Close the file of this process; the next read opens it again."""
        super().close()
        values = self._values.pop(os.getpid(), None)
        if values is not None:
            values.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "allow_external": self.allow_external}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with external_files(allowed=state["allow_external"]):
            HDF5Handle.__init__(self, state["path"])


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading names, shapes and attributes, guarded against damaged heaps.

    A file that its writer has not closed is opened as :func:`open_values` opens it; so is a file
    that may refer to other files, since the guard prevents it from opening them.
    """
    if allow_external_files.get():
        return open_values(path)
    try:
        return h5py.File(GuardedFile(path), "r")
    except OSError as error:
        if not _is_not_closed(error):
            raise
        return open_values(path)


def open_values(path: Path, *, warn: bool = False) -> h5py.File:
    """Open a file for reading values, also while another program writes it.

    Args:
        path: the file.
        warn: warn if another program has it open for writing.

    Raises:
        DataError: the file cannot be read before the program that writes it has finished.
    """
    options: dict[str, Any] = {"rdcc_nbytes": CHUNK_CACHE, "rdcc_nslots": 8191}
    locked = False
    try:
        return h5py.File(path, "r", **options)
    except BlockingIOError:
        locked = True
    except OSError as error:
        if not _is_not_closed(error) and error.errno not in NO_LOCKS:
            raise
        locked = _is_not_closed(error)
    if locked and warn:
        warnings.warn(
            f"{path} is open for writing in another program. What is read may be incomplete.",
            stacklevel=2,
        )
    try:
        return h5py.File(path, "r", **options, locking=False)
    except OSError as error:
        if not _is_not_closed(error):
            raise
    try:
        return h5py.File(path, "r", **options, libver="latest", swmr=True, locking=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is open for writing in another program, or that program was killed, and it "
            f"is not in SWMR mode ({error}). Wait until the program has finished; if none is "
            "running, run `h5clear -s` on a copy of the file."
        ) from error


def _is_not_closed(error: Exception) -> bool:
    return any(text in str(error) for text in NOT_CLOSED)


def _require_values(dataset: h5py.Dataset, path: Path) -> None:
    """Check that the file stores as many bytes as a contiguous array has."""
    stored = dataset.id.get_storage_size()
    expected = dataset.size * dataset.dtype.itemsize
    # Such as a CF grid mapping: a scalar without a value, whose content is its attributes.
    attributes_only = dataset.shape == () and stored == 0
    if dataset.chunks is None and stored != expected and not attributes_only:
        raise DataError(
            f"{path}: the array `{dataset.name}` of shape {dataset.shape} should have {expected} "
            f"bytes, but the file stores {stored}. Download or generate the file again."
        )


def get_item(group: h5py.Group, name: str) -> Any:
    """The group or array called ``name``; None if the group has nothing of that name.

    Raises:
        DataError: it is there, but damaged.
    """
    place: Any = group
    for word in filter(None, name.split("/")):
        if not isinstance(place, h5py.Group):
            return None
        link = place.get(word, getlink=True) if place.id.links.exists(word.encode()) else None
        if link is None:
            return None
        try:
            place = place[word]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            if isinstance(link, h5py.SoftLink):  # its target does not exist
                return None
            raise DataError(
                f"{group.file.filename}: `{name}` is damaged ({error}). Download or generate the "
                "file again."
            ) from error
    return place


def get_group(file: h5py.Group, name: str) -> h5py.Group | None:
    """The group called ``name``; None if the file has nothing of that name.

    Raises:
        DataError: ``name`` is an array, or damaged.
    """
    found = get_item(file, name)
    if found is None or isinstance(found, h5py.Group):
        return found
    raise DataError(
        f"{file.file.filename}: `{name}` is not a group. The file has another layout or is damaged."
    )


def get_attribute(item: h5py.Group | h5py.Dataset, name: str, default: Any = None) -> Any:
    """The attribute called ``name`` as :func:`attribute_value` returns it, or ``default``.

    Raises:
        DataError: it is there, but damaged.
    """
    if name not in item.attrs:
        return default
    try:
        return attribute_value(item.attrs[name])
    except DataError:
        raise
    except Exception as error:  # h5py does not document what it raises on damaged attributes
        raise DataError(
            f"{item.file.filename}: the attribute `{name}` of `{item.name}` cannot be read "
            f"({type(error).__name__}: {error})."
        ) from error


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


def dimension_scales(dataset: h5py.Dataset) -> list[list[h5py.Dataset]]:
    """The dimension scales attached to each axis of an array.

    They are read from the attribute ``DIMENSION_LIST`` after checking its type, because the
    function of HDF5 that does it crashes if the attribute has another type.

    Raises:
        DataError: the attribute is not a list of references per axis.
    """
    if "DIMENSION_LIST" not in dataset.attrs:
        return [[] for _ in range(dataset.ndim)]
    try:
        attribute = h5py.h5a.open(dataset.id, b"DIMENSION_LIST")
        kind = h5py.check_vlen_dtype(attribute.dtype)
        valid = kind is not None and h5py.check_ref_dtype(kind) is h5py.Reference
        if valid and attribute.shape == (dataset.ndim,):
            lists: Any = dataset.attrs["DIMENSION_LIST"]
            found: list[list[Any]] = [
                [dataset.file[reference] for reference in axis] for axis in lists
            ]
            if all(isinstance(scale, h5py.Dataset) for axis in found for scale in axis):
                return found
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise _damaged_dimensions(dataset) from error
    raise _damaged_dimensions(dataset)


def _damaged_dimensions(dataset: h5py.Dataset) -> DataError:
    return DataError(
        f"{dataset.file.filename}: the attribute DIMENSION_LIST of `{dataset.name}` is not a list "
        "of dimension scales per axis. The file is damaged. Download or generate it again."
    )
