"""Indices of lazy arrays: one entry per axis, an int, a slice or an increasing list."""

from __future__ import annotations

from typing import Any

import numpy as np

Key = tuple[Any, ...]


def normalize_index(key: Any, size: int) -> Any:
    """Make slices explicit and ints non-negative for an axis of length ``size``.

    A cut axis must not be read beyond its cut, which an open slice would do.

    Example:
        >>> normalize_index(-1, 10), normalize_index(slice(2, None), 10)
        (9, slice(2, 10, 1))
    """
    if isinstance(key, slice):
        return slice(*key.indices(size))
    if isinstance(key, int | np.integer):
        if not -size <= key < size:
            raise IndexError(f"index {key} is out of range for an axis of length {size}")
        return int(key) % size
    return key


def selected_shape(key: Key, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of ``array[key]`` for slices, lists and ints.

    Example:
        >>> selected_shape((0, slice(1, 3), [0, 4]), (5, 6, 7))
        (2, 2)
    """
    return tuple(
        len(range(size)[k]) if isinstance(k, slice) else len(k)
        for k, size in zip(key, shape, strict=True)
        if not isinstance(k, int)
    )
