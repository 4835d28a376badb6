"""File handles: each process opens a file for itself, when it first reads from it.

HDF5 file objects survive neither a fork nor pickling, so a handle opens its file again in every
process that the dataset reaches. The file stays open until the dataset is closed or garbage
collected, because opening it costs as much as about twenty reads.
"""

from __future__ import annotations

import os
import pickle
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from fields.io.base import DataError
from fields.io.matlab5 import matlab5_arrays
from fields.io.signatures import is_zip

# Arrays that one process keeps open. It bounds the sum of their chunk caches for any number of
# files.
MAX_OPEN = 16

# (process id, handle id, array name) of all open arrays, the oldest first.
_open_arrays: dict[tuple[int, int, str], weakref.ref[Handle]] = {}


class Handle(ABC):
    """A data file that is opened on first use, once per process, and can be pickled.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npy"
        >>> np.save(path, np.zeros((3, 4)))
        >>> NumpyHandle(path).array("array").shape
        (3, 4)
    """

    def __init__(self, path: Path):
        self.path = Path(path).absolute()
        # By process id: the open file and the arrays that were requested from it.
        self._opened: dict[int, tuple[Any, dict[str, Any]]] = {}

    @abstractmethod
    def open_file(self) -> Any:
        """Open the file and return the object that :meth:`find_array` searches."""

    def find_array(self, file: Any, name: str) -> Any:
        """Return the array called ``name`` of the open file."""
        return file[name]

    @property
    def file(self) -> Any:
        """The open file of this process."""
        return self._file_and_arrays()[0]

    def array(self, name: str) -> Any:
        """The stored array called ``name``, with ``shape``, ``dtype`` and basic indexing."""
        file, arrays = self._file_and_arrays()
        if name not in arrays:
            self._close_oldest_arrays()
            try:
                arrays[name] = self.find_array(file, name)
            except DataError:
                raise
            except Exception as error:  # libraries do not document what they raise on damaged files
                raise DataError(
                    f"{self.path}: the array `{name}` cannot be read "
                    f"({type(error).__name__}: {error})."
                ) from error
            _open_arrays[os.getpid(), id(self), name] = weakref.ref(self)
        return arrays[name]

    def _close_oldest_arrays(self) -> None:
        """Make room for one more array: close those opened first, of whichever file."""
        own = [key for key in _open_arrays if key[0] == os.getpid()]
        for key in own[: len(own) - MAX_OPEN + 1]:
            handle = _open_arrays.pop(key)()
            if handle is not None and os.getpid() in handle._opened:
                handle._opened[os.getpid()][1].pop(key[2], None)

    def _file_and_arrays(self) -> tuple[Any, dict[str, Any]]:
        opened = self._opened.get(os.getpid())
        if opened is None:
            opened = (self.open_file(), {})
            self._opened[os.getpid()] = opened
        return opened

    def close(self) -> None:
        """Close the file of this process; the next read opens it again."""
        file, _ = self._opened.pop(os.getpid(), (None, {}))
        if hasattr(file, "close"):
            file.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Handle.__init__(self, state["path"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        return self


class TorchHandle(Handle):
    """Tensors saved by ``torch.save``, memory-mapped, so that only what is indexed is read.

    No code of the file is executed. In nested lists and dicts, an array is named by its keys joined
    with ``/``.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "a.pt"
        >>> torch.save([{"vertices": torch.zeros(5, 3)}], path)
        >>> TorchHandle(path).array("0/vertices").shape
        (5, 3)
    """

    def open_file(self) -> Any:
        """Load the structure of the file; tensors stay on the disk."""
        import torch

        try:
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise DataError(
                f"{self.path} contains Python objects other than tensors, which are not loaded "
                "because they can execute code. Save a dict of tensors instead: "
                "torch.save({'x': inputs, 'y': outputs}, path)."
            ) from error

    def find_array(self, file: Any, name: str) -> _CheckedTensor:
        """Follow the keys in ``name`` to a tensor."""
        for key in name.split("/"):
            file = file[int(key)] if isinstance(file, list) else file[key]
        if file.is_sparse or file.is_quantized:
            raise DataError(
                f"{self.path}: the tensor `{name}` is sparse or quantized. Save it as "
                "`tensor.to_dense()` or `tensor.dequantize()`."
            )
        return _CheckedTensor(file.detach(), self.path)


class _CheckedTensor:
    """A memory-mapped tensor; the checksum of its zip entry is checked at the first index."""

    def __init__(self, tensor: Any, path: Path):
        self.tensor = tensor
        self.path = path
        bfloat16 = str(tensor.dtype) == "torch.bfloat16"  # numpy has no such type
        self.array = (tensor.float() if bfloat16 else tensor).numpy()
        self.shape = self.array.shape
        self.dtype = self.array.dtype
        self.ndim = self.array.ndim
        self._checked = False

    def __getitem__(self, key: Any) -> np.ndarray:
        if not self._checked:
            self._check()
            self._checked = True
        return self.array[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[...], dtype=dtype, copy=copy)

    def _check(self) -> None:
        """One of the entries must have the size and the checksum of the bytes of the tensor."""
        import torch

        storage = self.tensor.untyped_storage()
        content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        with zipfile.ZipFile(self.path) as archive:
            entries = {(entry.file_size, entry.CRC) for entry in archive.infolist()}
        if (content.nbytes, zlib.crc32(content.tobytes())) not in entries:
            raise DataError(
                f"{self.path} is damaged: the checksum of an array of the shape "
                f"{tuple(self.shape)} is wrong. Download or generate it again."
            )


class MatlabHandle(Handle):
    """A MATLAB file of version 5; each array is loaded as a whole when it is first used.

    The format compresses whole arrays, so parts of them cannot be read.

    Example:
        >>> import tempfile, scipy.io
        >>> path = Path(tempfile.mkdtemp()) / "a.mat"
        >>> scipy.io.savemat(path, {"u": np.zeros((2, 3))})
        >>> MatlabHandle(path).array("u").shape
        (2, 3)
    """

    def open_file(self) -> dict[str, Any]:
        """Nothing to open: arrays are loaded one by one."""
        return {}

    def find_array(self, file: dict[str, Any], name: str) -> np.ndarray:
        """Load one array, after checking the structure of the file, on which scipy may crash."""
        from scipy.io import loadmat

        arrays = {array.name: array for array in matlab5_arrays(self.path)}
        if name not in arrays or not arrays[name].numeric:
            numeric = [array.name for array in arrays.values() if array.numeric]
            raise DataError(
                f"{self.path} has no array of numbers `{name}`; it has {', '.join(numeric)}."
            )

        return np.asarray(loadmat(self.path, variable_names=[name])[name])


class NumpyHandle(Handle):
    """An ``.npy`` file, memory-mapped, or an ``.npz`` file, whose arrays are loaded on first use.

    The array of an ``.npy`` file is called ``array``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, u=np.zeros((2, 3)))
        >>> NumpyHandle(path).array("u").shape
        (2, 3)
    """

    def open_file(self) -> Any:
        """Map the array, or open the archive."""
        file = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return {"array": file} if isinstance(file, np.ndarray) else file


def torch_content(path: Path) -> Any:
    """The structure that ``torch.save`` wrote, with tensors left on the disk; None for other files.

    No code of the file is executed.
    """
    if not is_zip(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith("data.pkl") for name in archive.namelist()):
            return None
    return TorchHandle(path).file
