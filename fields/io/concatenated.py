"""Lazy arrays concatenated along their first axis: several files, or groups of one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fields.io.base import DataError
from fields.io.handles import Handle
from fields.io.indexing import Key, normalize_index, selected_shape
from fields.io.lazy import LazyArray, StoredArray, VectorComponent


class ConcatenatedArray(LazyArray):
    """Arrays concatenated along their first axis; shorter ones are padded with NaN.

    Args:
        parts: the arrays. If ``shapes`` are given, each is opened when it is first needed.
        shapes: shape of each part.
        dtype: type of all parts; an integer type becomes float64 where padding needs NaN.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from fields.io.handles import NumpyHandle
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "a.npy", np.zeros((2, 3)))
        >>> np.save(folder / "b.npy", np.ones((1, 2)))
        >>> parts = [StoredArray(NumpyHandle(folder / f"{n}.npy"), "array") for n in "ab"]
        >>> ConcatenatedArray(parts).read((slice(1, 3), slice(0, 3)))
        array([[ 0.,  0.,  0.],
               [ 1.,  1., nan]])
    """

    def __init__(
        self,
        parts: Sequence[LazyArray],
        *,
        shapes: Sequence[Key] | None = None,
        dtype: Any = None,
    ):
        self.parts = parts
        if shapes is None:
            shapes = [part.shape for part in parts]
        self.part_shapes = [tuple(shape) for shape in shapes]
        self.starts = np.concatenate([[0], np.cumsum([shape[0] for shape in self.part_shapes])])
        tails = [shape[1:] for shape in self.part_shapes]
        self.shape = (int(self.starts[-1]), *(max(sizes) for sizes in zip(*tails, strict=True)))
        self.dtype = np.dtype(dtype or parts[0].dtype)
        if len(set(tails)) > 1 and self.dtype.kind != "f":
            self.dtype = np.dtype("f8")

    def component(self) -> VectorComponent | None:
        """Its place in a vector, if all parts have the same; for groups, the first part decides."""
        grouped = isinstance(self.parts, GroupArrays)
        parts = [self.parts[0]] if grouped else self.parts
        found = [part.component() for part in parts]
        known = [c for c in found if c is not None]
        if len(known) < len(found) or len({c.index for c in known}) != 1:
            return None
        names = tuple(self.parts.names) if isinstance(self.parts, GroupArrays) else ()
        family = (*(c.family for c in known), *names, *self.part_shapes)
        return VectorComponent(family, known[0].index, self._all_components)

    def _all_components(self) -> ConcatenatedArray:
        if not isinstance(self.parts, GroupArrays):
            wholes = [c.whole() for part in self.parts if (c := part.component())]
            return ConcatenatedArray(wholes, dtype=self.dtype)
        parts = self.parts.all_components()
        tail = parts[0].shape[len(self.shape) :]
        shapes = [(*shape, *tail) for shape in self.part_shapes]
        return ConcatenatedArray(parts, shapes=shapes, dtype=self.dtype)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunks of the first part."""
        return self.parts[0].chunks

    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``, gathered from the parts that contain them."""
        first = normalize_index(key[0], self.shape[0])
        rest = tuple(
            normalize_index(k, size) for k, size in zip(key[1:], self.shape[1:], strict=True)
        )
        if isinstance(first, int):
            return self._read_row(first, rest)
        indices = range(self.shape[0])[first] if isinstance(first, slice) else first
        rows = [self._read_row(int(i), rest) for i in indices]
        return np.stack(rows) if rows else np.empty((0, *selected_shape(rest, self.shape[1:])))

    def _read_row(self, index: int, rest: Key) -> np.ndarray:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        part = self.parts[which]
        shape = self.part_shapes[which]
        if tuple(part.shape) != shape:
            raise DataError(
                f"Part {which} has the shape {tuple(part.shape)}, the other parts have {shape}, "
                "so they cannot be concatenated."
            )
        row = index - int(self.starts[which])
        if shape[1:] == self.shape[1:]:
            return part.read((row, *rest)).astype(self.dtype, copy=False)
        padded = np.full(self.shape[1:], np.nan, self.dtype)
        filled = tuple(slice(0, n) for n in shape[1:])
        padded[filled] = part.read((row, *filled))
        return padded[rest]


class GroupArrays(Sequence):
    """One :class:`StoredArray` per name in a file, each made when it is first indexed.

    Args:
        handle: the file.
        names: the stored arrays, usually one per HDF5 group.
        view: arguments of :class:`StoredArray`; ``order`` begins with None, a new axis of length 1.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from fields.io.handles import NumpyHandle
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, first=np.zeros((4, 2)), second=np.zeros((4, 2)))
        >>> names = ["first", "second"]
        >>> views = GroupArrays(NumpyHandle(path), names, order=(None, 0), fixed={1: 0})
        >>> len(views), views[1].shape
        (2, (1, 4))
    """

    def __init__(self, handle: Handle, names: Sequence[str], **view: Any):
        self.handle = handle
        self.names = names
        self.view = view

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredArray:
        return StoredArray(self.handle, self.names[index], **self.view)

    def all_components(self) -> GroupArrays:
        """The arrays with all their components along new last axes."""
        order = (*self.view["order"], *sorted(self.view["fixed"]))
        return GroupArrays(self.handle, self.names, **{**self.view, "order": order, "fixed": {}})
