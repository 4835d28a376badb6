"""Lazy arrays joined along their first axis: files of one dataset, or the groups that a file keeps its samples in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fields.io.base import DataError
from fields.io.handles import Handle
from fields.io.lazy import Component, Key, LazyArray, StoredArray, count, within


class ConcatenatedArray(LazyArray):
    """Arrays joined along their first axis; shorter ones are padded with NaN.

    Args:
        parts: the arrays; opened only when needed if ``shapes`` are given.
        shapes: shape of each part.
        dtype: of all parts; an integer type becomes floating where padding needs NaN.
    """

    def __init__(
        self, parts: Sequence[LazyArray], *, shapes: Sequence[Key] | None = None, dtype: Any = None
    ):
        self.parts = parts
        self.part_shapes = (
            [tuple(part.shape) for part in parts] if shapes is None else [tuple(s) for s in shapes]
        )
        self.starts = np.concatenate([[0], np.cumsum([shape[0] for shape in self.part_shapes])])
        tails = [shape[1:] for shape in self.part_shapes]
        self.shape = (int(self.starts[-1]), *(max(sizes) for sizes in zip(*tails, strict=True)))
        self.dtype = np.dtype(dtype or parts[0].dtype)
        if len(set(tails)) > 1 and self.dtype.kind != "f":
            self.dtype = np.dtype("f8")

    def component(self) -> Component | None:
        """Of the parts, if it is the same of all; of groups in one file, the first stands for all."""
        found = [
            part.component()
            for part in ([self.parts[0]] if isinstance(self.parts, Groups) else self.parts)
        ]
        known = [c for c in found if c is not None]
        if len(known) < len(found) or len({c.index for c in known}) != 1:
            return None
        names = tuple(self.parts.names) if isinstance(self.parts, Groups) else ()
        return Component(
            (*(c.family for c in known), *names, *self.part_shapes), known[0].index, self._whole
        )

    def _whole(self) -> ConcatenatedArray:
        if not isinstance(self.parts, Groups):
            return ConcatenatedArray(
                [c.whole() for part in self.parts if (c := part.component())], dtype=self.dtype
            )
        parts = self.parts.whole()
        tail = parts[0].shape[len(self.shape) :]
        return ConcatenatedArray(
            parts, shapes=[(*shape, *tail) for shape in self.part_shapes], dtype=self.dtype
        )

    @property
    def chunks(self) -> tuple[int, ...]:
        """Of the first part, for all."""
        return self.parts[0].chunks

    def read(self, key: Key) -> np.ndarray:
        """The values at ``key``, gathered from the parts they lie in."""
        first = within(key[0], self.shape[0])
        rest = tuple(within(k, size) for k, size in zip(key[1:], self.shape[1:], strict=True))
        if isinstance(first, int):
            return self._one(first, rest)
        indices = range(self.shape[0])[first] if isinstance(first, slice) else first
        rows = [self._one(int(i), rest) for i in indices]
        if rows:
            return np.stack(rows)
        return np.empty(
            (
                0,
                *(
                    count(k, n)
                    for k, n in zip(rest, self.shape[1:], strict=True)
                    if not isinstance(k, int)
                ),
            )
        )

    def _one(self, index: int, rest: Key) -> np.ndarray:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        part, shape = self.parts[which], self.part_shapes[which]
        if tuple(part.shape) != shape:
            raise DataError(
                f"Part {which} has shape {tuple(part.shape)}, the others {shape}: it cannot be joined to them."
            )
        row = index - int(self.starts[which])
        if shape[1:] == self.shape[1:]:
            return part.read((row, *rest)).astype(self.dtype, copy=False)
        padded = np.full(self.shape[1:], np.nan, self.dtype)
        padded[tuple(slice(0, n) for n in shape[1:])] = part.read(
            (row, *(slice(0, n) for n in shape[1:]))
        )
        return padded[rest]


class Groups(Sequence):
    """One :class:`StoredArray` per name, each with a new first axis of length 1, made when asked for."""

    def __init__(self, handle: Handle, names: Sequence[str], **view: Any):
        self.handle, self.names, self.view = handle, names, view

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredArray:
        return StoredArray(self.handle, self.names[index], **self.view)

    def whole(self) -> Groups:
        """All components of the arrays, along new last axes."""
        view = {
            **self.view,
            "order": (*self.view["order"], *sorted(self.view["fixed"])),
            "fixed": {},
        }
        return Groups(self.handle, self.names, **view)
