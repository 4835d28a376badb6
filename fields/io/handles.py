"""Open files, one handle per process.

A handle is opened at its first read and again in every process that the dataset reaches, by fork or by pickle: HDF5
file objects do not survive either. It stays open until the dataset is closed or forgotten, since opening a file
costs as much as some twenty reads.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import h5py

from fields.io.base import DataError

CHUNK_CACHE = 64 * 2**20  # bytes per dataset: one trajectory chunk fits, and neighbouring frames are decoded once


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
            arrays[name] = self._find(file, name)
        return arrays[name]

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
        self.__init__(state["path"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        return self


class HDF5Handle(Handle):
    """An HDF5 file, read without waiting for locks (a warning says so)."""

    def _connect(self) -> h5py.File:
        return open_hdf5(self.path)


class TorchHandle(Handle):
    """Tensors saved by ``torch.save``; mapped into memory, so that only what is read is loaded. Runs no code of the
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


def open_hdf5(path: Path) -> h5py.File:
    """Opens for reading; a file locked by another program is read all the same, with a warning."""
    try:
        return h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, rdcc_nslots=8191)
    except BlockingIOError:
        try:
            file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, rdcc_nslots=8191, locking=False)
        except OSError as error:
            raise DataError(f"{path} is locked by a program that is writing it. Wait until it has finished.") from error
        warnings.warn(f"{path} is open for writing in another program: what is read may be half written.", stacklevel=2)
        return file
