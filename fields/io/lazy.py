"""Lazy arrays: stored arrays seen with the canonical axes, read when indexed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from fields.io.base import DataError
from fields.io.handles import Handle

Key = tuple[Any, ...]


class Component(NamedTuple):
    """A component of a stored vector or tensor.

    Args:
        family: equal for arrays that are components of the same stored array.
        index: which one, counted with the last of the component axes fastest.
        whole: makes the array of all components, along new last axes; reading it costs little more
            than one component.
    """

    family: Hashable
    index: int
    whole: Callable[[], LazyArray]


class LazyArray(BackendArray):
    """An array that is read when it is indexed."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Per axis, how many entries are stored as one and read together; 1 where any range can be read on its own."""
        return (1,) * len(self.shape)

    @abstractmethod
    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``: per axis an int, a slice with positive step, or (on one axis) an increasing list."""

    def component(self) -> Component | None:
        """Of which stored array this is one component of several that lie side by side in the file; None if of none."""
        return None

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self.read
        )


class StoredArray(LazyArray):
    """A stored array with its axes reordered, cut or repeated, and some of them fixed at an index.

    Axis i of this array is axis ``order[i]`` of the stored one, or a repetition of it where
    ``order[i]`` is None; the remaining stored axes are at the indices ``fixed``.

    Args:
        handle: the file.
        name: the stored array in it.
        order: stored axis of each axis; default: all axes that are not fixed, as stored.
        fixed: index at which each remaining stored axis is taken (a component of a vector, an axis
            of length 1).
        lengths: by axis of this array: where to cut a stored axis, or how often to repeat.
        dtype: type to convert to; default: as stored.
    """

    def __init__(
        self,
        handle: Handle,
        name: str,
        *,
        order: Sequence[int | None] | None = None,
        fixed: dict[int, int] | None = None,
        lengths: dict[int, int] | None = None,
        dtype: Any = None,
    ):
        stored = handle.array(name)
        self.handle, self.name, self.fixed = handle, name, dict(fixed or {})
        self.ndim_stored = len(stored.shape)
        free = tuple(axis for axis in range(self.ndim_stored) if axis not in self.fixed)
        self.order = free if order is None else tuple(order)
        if sorted(axis for axis in self.order if axis is not None) != list(free):
            raise DataError(
                f"{handle.path}: `{name}` has shape {tuple(stored.shape)}, expected {len(self.order)} axes."
            )
        lengths = lengths or {}
        self.shape = tuple(
            lengths.get(i, 1)
            if axis is None
            else min(lengths.get(i, stored.shape[axis]), stored.shape[axis])
            for i, axis in enumerate(self.order)
        )
        self.dtype = np.dtype(dtype or stored.dtype)
        self.as_stored = self.order == tuple(range(self.ndim_stored))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Of the stored array, in the order of these axes."""
        stored = getattr(self.handle.array(self.name), "chunks", None) or (1,) * self.ndim_stored
        return tuple(1 if axis is None else stored[axis] for axis in self.order)

    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``; a damaged place raises a :class:`DataError` that names it."""
        key = tuple(within(k, size) for k, size in zip(key, self.shape, strict=True))
        try:
            values = np.asarray(
                self.handle.array(self.name)[key if self.as_stored else self._stored_key(key)]
            )
        except DataError:
            raise
        except (
            Exception
        ) as error:  # HDF5 does not say what it raises on damaged files: OSError, RuntimeError …
            raise DataError(_explain(self, key, error)) from error
        return (values if self.as_stored else self._canonical(values, key)).astype(
            self.dtype, copy=False
        )

    def component(self) -> Component | None:
        """By the fixed axes, if they are the last ones in the file and one of them is longer than 1."""
        axes, sizes = sorted(self.fixed), self.handle.array(self.name).shape
        if (
            not axes
            or axes != list(range(self.ndim_stored))[-len(axes) :]
            or all(sizes[axis] == 1 for axis in axes)
        ):
            return None
        index = int(
            np.ravel_multi_index(
                [self.fixed[axis] for axis in axes], [sizes[axis] for axis in axes]
            )
        )
        family = (id(self.handle), self.name, self.order, self.shape, self.dtype, len(axes))
        return Component(family, index, self._whole)

    def _whole(self) -> StoredArray:
        order, lengths = (*self.order, *sorted(self.fixed)), dict(enumerate(self.shape))
        return StoredArray(self.handle, self.name, order=order, lengths=lengths, dtype=self.dtype)

    def _stored_key(self, key: Key) -> Key:
        stored = [self.fixed.get(axis) for axis in range(self.ndim_stored)]
        for k, axis in zip(key, self.order, strict=True):
            if axis is not None:
                stored[axis] = k
        return tuple(stored)

    def _canonical(self, values: np.ndarray, key: Key) -> np.ndarray:
        """Axes of ``values`` (in stored order, those with an int index gone) brought into the order of this array."""
        kept = [axis for k, axis in zip(key, self.order, strict=True) if not isinstance(k, int)]
        present = [axis for axis in kept if axis is not None]
        values = values.transpose([sorted(present).index(axis) for axis in present])
        if None not in kept:
            return values
        values = values[tuple(None if axis is None else slice(None) for axis in kept)]
        sizes = [
            count(k, size)
            for k, size in zip(key, self.shape, strict=True)
            if not isinstance(k, int)
        ]
        return np.broadcast_to(values, sizes)


def lazy(
    dims: Sequence[Hashable], array: BackendArray, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """A variable that reads ``array`` only when its values are asked for."""
    return xr.Variable(tuple(dims), indexing.LazilyIndexedArray(array), attrs)


def stored_array(variable: xr.Variable | xr.DataArray, *, packed: bool = False) -> LazyArray | None:
    """The array behind an untouched lazy variable, for readers of many small windows; None if it was sliced or loaded.

    Also None if its numbers are unpacked when xarray reads them (netCDF's ``scale_factor``), unless
    ``packed`` asks for them as they are stored.

    ``stored_array(ds["u"]).read((3, slice(0, 5), slice(0, 64)))`` skips the cost of xarray's
    bookkeeping, which for a window of a few frames is several times that of reading it.
    """
    data: Any = getattr(variable, "variable", variable)._data
    while not isinstance(data, indexing.LazilyIndexedArray):
        same = isinstance(data, indexing.CopyOnWriteArray | indexing.MemoryCachedArray)
        if not hasattr(data, "array") or not (same or packed):
            return None
        data = data.array
    whole = all(isinstance(k, slice) and k == slice(None) for k in data.key.tuple)
    return data.array if whole and isinstance(data.array, LazyArray) else None


def within(key: Any, size: int) -> Any:
    """``key`` with slices made explicit, since a cut axis must not be read beyond its cut, and ints counted from 0."""
    if isinstance(key, slice):
        return slice(*key.indices(size))
    if isinstance(key, int | np.integer):
        if not -size <= key < size:
            raise IndexError(f"index {key} is out of range for an axis of length {size}")
        return int(key) % size
    return key


def count(key: Any, size: int) -> int:
    """How many entries of an axis of length ``size`` a slice or list selects."""
    return len(range(size)[key]) if isinstance(key, slice) else len(key)


def _explain(array: StoredArray, key: Key, error: Exception) -> str:
    where = ", ".join(f"{k.start}:{k.stop}" if isinstance(k, slice) else str(k) for k in key)
    return (
        f"{array.handle.path}: `{array.name}` cannot be read at [{where}] ({type(error).__name__}: {error}). "
        "The file is probably damaged there: get it again, or `python -m fields validate` lists all such places."
    )
