"""Lazy arrays: a stored array seen with the canonical axes, read when indexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from fields.io.base import DataError
from fields.io.handles import Handle

Key = tuple[Any, ...]


class StoredArray(BackendArray):
    """A stored array with its axes reordered, cut to the canonical length, and some of them fixed at an index.

    Axis i of this array is axis ``order[i]`` of the stored one; the remaining stored axes are at the indices ``fixed``.

    Args:
        handle, name: where the stored array is.
        order: stored axis of each axis; default: all axes that are not fixed, as stored.
        fixed: index at which each remaining stored axis is taken (a component of a vector, an axis of length 1).
        cut: lengths shorter than the stored ones, by axis of this array.
        dtype: type to convert to; default: as stored.
    """

    def __init__(
        self,
        handle: Handle,
        name: str,
        *,
        order: Sequence[int] | None = None,
        fixed: dict[int, int] | None = None,
        cut: dict[int, int] | None = None,
        dtype: Any = None,
    ):
        stored = handle.array(name)
        self.handle, self.name, self.fixed = handle, name, dict(fixed or {})
        self.ndim_stored = len(stored.shape)
        self.order = (
            tuple(order) if order is not None else tuple(a for a in range(self.ndim_stored) if a not in self.fixed)
        )
        self.shape = tuple(min((cut or {}).get(i, stored.shape[a]), stored.shape[a]) for i, a in enumerate(self.order))
        self.dtype = np.dtype(dtype or stored.dtype)
        self.stored_name = name

    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``: per axis an int, a slice with positive step, or (on one axis) an increasing list."""
        key = tuple(_within(k, size) for k, size in zip(key, self.shape, strict=True))
        stored_key = [self.fixed.get(axis) for axis in range(self.ndim_stored)]
        for k, axis in zip(key, self.order, strict=True):
            stored_key[axis] = k
        try:
            values = np.asarray(self._read_stored(tuple(stored_key)))
        except DataError:
            raise
        except (
            Exception
        ) as error:  # what HDF5 raises on damaged files is not documented: OSError, RuntimeError, KeyError …
            raise DataError(_explain(self, key, error)) from error
        kept = [axis for k, axis in zip(key, self.order, strict=True) if not isinstance(k, int)]
        return values.transpose([sorted(kept).index(axis) for axis in kept]).astype(self.dtype, copy=False)

    def _read_stored(self, stored_key: Key) -> Any:
        return self.handle.array(self.name)[stored_key]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self.read)


def lazy(dims: Sequence[str], array: BackendArray, attrs: dict[str, Any] | None = None) -> xr.Variable:
    """A variable that reads ``array`` only when its values are asked for."""
    return xr.Variable(tuple(dims), indexing.LazilyIndexedArray(array), attrs)


def stored_array(variable: xr.Variable | xr.DataArray) -> StoredArray | None:
    """The array behind an untouched lazy variable, for readers of many small windows; None if it was sliced or loaded.

    ``stored_array(ds["u"]).read((3, slice(0, 5), slice(0, 64)))`` skips the cost of xarray's bookkeeping, which for
    a window of a few frames is several times that of reading it.
    """
    data = variable.variable._data if isinstance(variable, xr.DataArray) else variable._data
    while not isinstance(data, indexing.LazilyIndexedArray):
        if not hasattr(data, "array"):
            return None
        data = data.array
    whole = all(isinstance(k, slice) and k == slice(None) for k in data.key.tuple)
    return data.array if whole and isinstance(data.array, StoredArray) else None


def _within(key: Any, size: int) -> Any:
    """``key`` with slices made explicit: a cut axis must not be read beyond its cut."""
    if isinstance(key, slice):
        return slice(*key.indices(size))
    if isinstance(key, int | np.integer):
        if not -size <= key < size:
            raise IndexError(f"index {key} is out of range for an axis of length {size}")
        return int(key) % size
    return key


def _explain(array: StoredArray, key: Key, error: Exception) -> str:
    where = ", ".join(f"{k.start}:{k.stop}" if isinstance(k, slice) else str(k) for k in key)
    return (
        f"{array.handle.path}: `{array.stored_name}` cannot be read at [{where}] ({type(error).__name__}: {error}). "
        "The file is probably damaged there: get it again, or `python -m fields validate` lists all such places."
    )
