"""Open files, one handle per process.

A handle is opened at its first read and again in every process that the dataset reaches, by fork or
by pickle: HDF5 file objects survive neither. It stays open until the dataset is closed or
forgotten, since opening a file costs as much as some twenty reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fields.io.base import DataError

CHUNK_CACHE = (
    32 * 2**20
)  # bytes per dataset: one trajectory chunk fits, and neighboring frames are decoded once

MAX_OPEN = 16  # datasets that a process keeps open, so that their caches together stay small however many files there are

NO_LOCKS = (
    errno.EROFS,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)  # file systems without locks, read-only ones

PLUGINS = {
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}


_opened: dict[
    tuple[int, int, str], weakref.ref[Handle]
] = {}  # (process, handle, name), the oldest first


class Handle(ABC):
    """One file, opened lazily and once per process; picklable."""

    def __init__(self, path: Path):
        self.path = Path(path).absolute()
        self._open: dict[int, tuple[Any, dict[str, Any]]] = {}

    @abstractmethod
    def _connect(self) -> Any:
        """Opens the file."""

    def _find(self, file: Any, name: str) -> Any:
        """The array called ``name`` in the open file."""
        return file[name]

    @property
    def file(self) -> Any:
        """The open file of this process."""
        return self._state()[0]

    def array(self, name: str) -> Any:
        """The stored array called ``name``: has ``shape``, ``dtype`` and numpy's basic indexing."""
        file, arrays = self._state()
        if name not in arrays:
            self._make_room()
            try:
                arrays[name] = self._find(file, name)
            except DataError:
                raise
            except Exception as error:  # what libraries raise on damaged files is not documented
                raise DataError(
                    f"{self.path}: there is no readable array `{name}` ({type(error).__name__}: {error})."
                ) from error
            _opened[os.getpid(), id(self), name] = weakref.ref(self)
        return arrays[name]

    def _make_room(self) -> None:
        """Closes the dataset that was opened first, of whichever file, if there are too many."""
        own = [key for key in _opened if key[0] == os.getpid()]
        for key in own[: len(own) - MAX_OPEN + 1]:
            handle = _opened.pop(key)()
            if handle is not None and os.getpid() in handle._open:
                handle._open[os.getpid()][1].pop(key[2], None)

    def _state(self) -> tuple[Any, dict[str, Any]]:
        state = self._open.get(os.getpid())
        if state is None:
            state = self._open[os.getpid()] = (self._connect(), {})
        return state

    def close(self) -> None:
        """Closes this process's file; the next read opens it again."""
        file, _ = self._open.pop(os.getpid(), (None, {}))
        if hasattr(file, "close"):
            file.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Handle.__init__(self, state["path"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        return self


class HDF5Handle(Handle):
    """An HDF5 file; a missing compression plug-in is reported before anything is read."""

    def _connect(self) -> h5py.File:
        return open_hdf5(self.path)

    def _find(self, file: h5py.File, name: str) -> h5py.Dataset:
        if name not in file or not isinstance(dataset := file[name], h5py.Dataset):
            raise DataError(f"{self.path} has no array `{name}`; it has {', '.join(sorted(file))}.")
        if dataset.shape is None or dataset.dtype.kind not in "biufc":
            raise DataError(
                f"{self.path}: `{name}` holds {dataset.dtype or 'nothing'}, not numbers."
            )
        _require_filters(dataset, self.path)
        stored, wanted = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
        never_written = (
            dataset.shape == () and stored == 0
        )  # such as a grid mapping, whose attributes are its content
        if dataset.chunks is None and stored != wanted and not never_written:
            raise DataError(
                f"{self.path}: `{name}` {dataset.shape} needs {wanted} bytes, {stored} are stored. Get it again."
            )
        return dataset


class TorchHandle(Handle):
    """Tensors saved by ``torch.save``, mapped into memory so that only what is read is loaded. Runs no code of the
    file.

    Arrays are named by their keys, joined with ``/`` for nested lists and dicts.
    """

    def _connect(self) -> Any:
        import torch

        return torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)

    def _find(self, file: Any, name: str) -> Any:
        for key in name.split("/"):
            file = file[int(key)] if isinstance(file, list) else file[key]
        return file.numpy()


class MatlabHandle(Handle):
    """A MATLAB file of version 5, whose arrays are compressed as a whole: each is loaded at its first use."""

    def _connect(self) -> dict[str, Any]:
        return {}

    def _find(self, file: dict[str, Any], name: str) -> np.ndarray:
        from scipy.io import loadmat

        return np.asarray(loadmat(self.path, variable_names=[name])[name])


class NumpyHandle(Handle):
    """``.npy``, mapped into memory and called ``array``, and ``.npz``, each array loaded at its first use."""

    def _connect(self) -> Any:
        file = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return {"array": file} if isinstance(file, np.ndarray) else file


def open_hdf5(path: Path) -> h5py.File:
    """Opens for reading; a file that another program is writing is read all the same, with a warning."""
    options: dict[str, Any] = {"rdcc_nbytes": CHUNK_CACHE, "rdcc_nslots": 8191}
    try:
        return h5py.File(path, "r", **options)
    except BlockingIOError:
        warnings.warn(
            f"{path} is open for writing in another program: what is read may be half done.",
            stacklevel=2,
        )
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        return h5py.File(path, "r", **options, locking=False)
    except OSError as error:
        raise DataError(
            f"{path} is locked by a program that is writing it ({error}). Wait until it is done."
        ) from error


def subgroup(file: h5py.Group, name: str) -> h5py.Group | None:
    """The group called ``name``; None if there is nothing of that name."""
    found = file.get(name)
    if found is None or isinstance(found, h5py.Group):
        return found
    raise DataError(
        f"{file.file.filename}: `{name}` is no group. The file is of another layout or damaged."
    )


def _require_filters(dataset: h5py.Dataset, path: Path) -> None:
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code = properties.get_filter(i)[0]
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(ImportError):
            import hdf5plugin  # noqa: F401  # pyright: ignore[reportMissingImports]  registers its filters with HDF5
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"{path}: `{dataset.name}` is compressed with {PLUGINS.get(code, 'an unknown method')} "
                f"(HDF5 filter {code}), which is not installed. Run `pip install hdf5plugin` and try again."
            )
