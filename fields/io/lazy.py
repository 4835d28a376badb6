"""Lazy arrays: stored arrays with their axes in canonical order, read when they are indexed."""

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
from fields.io.indexing import Key, normalize_index, selected_shape


class VectorComponent(NamedTuple):
    """One component of a stored vector or tensor.

    Attributes:
        family: equal for the components of the same stored array.
        index: which component, with the last component axis varying fastest.
        whole: makes the array of all components, which are new last axes. Reading it costs little
            more than reading one component.

    Example:
        >>> VectorComponent("velocity", 1, whole=lambda: None).index
        1
    """

    family: Hashable
    index: int
    whole: Callable[[], LazyArray]


class LazyArray(BackendArray):
    """Base class of arrays whose values are read when they are indexed.

    Example:
        >>> class Ramp(LazyArray):
        ...     shape, dtype = (1000,), np.dtype(int)
        ...
        ...     def read(self, key):
        ...         return np.arange(1000)[key]
        >>> lazy_variable(("x",), Ramp())[2:5].values
        array([2, 3, 4])
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Per axis, how many entries are stored and read together; 1 if any range can be read."""
        return (1,) * len(self.shape)

    @abstractmethod
    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``.

        Args:
            key: per axis an int, a slice with positive step or, on one axis only, an increasing
                list.
        """

    def component(self) -> VectorComponent | None:
        """Its place in a stored vector or tensor; None if the array is not a component of one."""
        return None

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self.read
        )


class StoredArray(LazyArray):
    """A stored array with its axes reordered, cut or repeated, and some of them fixed at an index.

    Axis i of this array is axis ``order[i]`` of the stored array, or a repetition where
    ``order[i]`` is None. The remaining stored axes are taken at the indices ``fixed``.

    Args:
        handle: the file.
        name: the stored array in it.
        order: stored axis of each axis; default: all axes that are not fixed, as stored.
        fixed: index of each remaining stored axis (a component of a vector, an axis of length 1).
        lengths: by axis of this array: where to cut a stored axis, or how often to repeat it.
        dtype: type to convert to; default: as stored.

    Raises:
        DataError: ``order`` does not match the stored array.

    Example:
        The y component of a vector field stored as (sample, x, component), for two samples:

        >>> import tempfile
        >>> from pathlib import Path
        >>> from fields.io.handles import NumpyHandle
        >>> path = Path(tempfile.mkdtemp()) / "a.npy"
        >>> np.save(path, np.arange(24).reshape(2, 4, 3))
        >>> StoredArray(NumpyHandle(path), "array", fixed={2: 1}).read((0, slice(0, 2)))
        array([1, 4])
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
        self.handle = handle
        self.name = name
        self.fixed = dict(fixed or {})
        self.ndim_stored = len(stored.shape)
        free = tuple(axis for axis in range(self.ndim_stored) if axis not in self.fixed)
        self.order = free if order is None else tuple(order)
        if sorted(axis for axis in self.order if axis is not None) != list(free):
            expected = len([axis for axis in self.order if axis is not None]) + len(self.fixed)
            raise DataError(
                f"{handle.path}: the array `{name}` has the shape {tuple(stored.shape)}, "
                f"expected {expected} axes."
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
        """Chunks of the stored array, in the order of the axes of this one."""
        stored = getattr(self.handle.array(self.name), "chunks", None) or (1,) * self.ndim_stored
        return tuple(1 if axis is None else stored[axis] for axis in self.order)

    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``.

        Raises:
            DataError: the file is damaged there; the message names the file and the indices.
        """
        key = tuple(normalize_index(k, size) for k, size in zip(key, self.shape, strict=True))
        stored_key = key if self.as_stored else self._stored_key(key)
        try:
            values = np.asarray(self.handle.array(self.name)[stored_key])
        except DataError:
            raise
        except Exception as error:  # HDF5 does not document what it raises on damaged files
            raise DataError(_damage_message(self, key, error)) from error
        if not self.as_stored:
            values = self._canonical_order(values, key)
        return values.astype(self.dtype, copy=False)

    def component(self) -> VectorComponent | None:
        """Its place among the components: the fixed axes, if they are the last ones of the file."""
        axes = sorted(self.fixed)
        sizes = self.handle.array(self.name).shape
        last_axes = list(range(self.ndim_stored))[-len(axes) :] if axes else []
        if not axes or axes != last_axes or all(sizes[axis] == 1 for axis in axes):
            return None
        indices = [self.fixed[axis] for axis in axes]
        index = int(np.ravel_multi_index(indices, [sizes[axis] for axis in axes]))
        family = (id(self.handle), self.name, self.order, self.shape, self.dtype, len(axes))
        return VectorComponent(family, index, self._all_components)

    def _all_components(self) -> StoredArray:
        order = (*self.order, *sorted(self.fixed))
        lengths = dict(enumerate(self.shape))
        return StoredArray(self.handle, self.name, order=order, lengths=lengths, dtype=self.dtype)

    def _stored_key(self, key: Key) -> Key:
        stored = [self.fixed.get(axis) for axis in range(self.ndim_stored)]
        for k, axis in zip(key, self.order, strict=True):
            if axis is not None:
                stored[axis] = k
        return tuple(stored)

    def _canonical_order(self, values: np.ndarray, key: Key) -> np.ndarray:
        """Bring the axes of ``values`` from stored order into the order of this array.

        Axes with an int index are absent from ``values``.
        """
        kept = [axis for k, axis in zip(key, self.order, strict=True) if not isinstance(k, int)]
        present = [axis for axis in kept if axis is not None]
        values = values.transpose([sorted(present).index(axis) for axis in present])
        if None not in kept:
            return values
        values = values[tuple(None if axis is None else slice(None) for axis in kept)]
        return np.broadcast_to(values, selected_shape(key, self.shape))


def lazy_variable(
    dims: Sequence[Hashable], array: BackendArray, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """An xarray variable that reads ``array`` when its values are requested."""
    return xr.Variable(tuple(dims), indexing.LazilyIndexedArray(array), attrs)


def stored_array(variable: xr.Variable | xr.DataArray, *, packed: bool = False) -> LazyArray | None:
    """The lazy array behind a variable, for programs that read many small windows.

    ``stored_array(ds["u"]).read((3, slice(0, 5), slice(0, 64)))`` bypasses the indexing machinery
    of xarray, which costs several times as much as reading a window of a few frames.

    Args:
        variable: a variable of an opened dataset.
        packed: also return arrays that xarray unpacks while reading (``scale_factor`` of netCDF);
            their numbers are those stored.

    Returns:
        None if the variable was sliced or loaded or, without ``packed``, if it is unpacked.
    """
    data: Any = getattr(variable, "variable", variable)._data
    while not isinstance(data, indexing.LazilyIndexedArray):
        wrapper = isinstance(data, indexing.CopyOnWriteArray | indexing.MemoryCachedArray)
        if not hasattr(data, "array") or not (wrapper or packed):
            return None
        data = data.array
    unsliced = all(isinstance(k, slice) and k == slice(None) for k in data.key.tuple)
    return data.array if unsliced and isinstance(data.array, LazyArray) else None


def _damage_message(array: StoredArray, key: Key, error: Exception) -> str:
    where = ", ".join(f"{k.start}:{k.stop}" if isinstance(k, slice) else str(k) for k in key)
    return (
        f"{array.handle.path}: `{array.name}` cannot be read at [{where}] "
        f"({type(error).__name__}: {error}). The file is probably damaged there. Download or "
        "generate it again."
    )
