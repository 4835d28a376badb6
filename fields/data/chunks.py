"""Reading a stored variable chunk by chunk, so that it never is in memory as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from fields.io.lazy import stored_array

# Bytes read at a time: what is computed from them still fits in the processor's cache.
CHUNK_BYTES = 4 * 2**20


def iter_chunks(
    variable: xr.Variable, indices: Sequence[int] | np.ndarray
) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Iterate over the values of some samples of a variable, reading every stored chunk once.

    Args:
        variable: lazy or in memory, with or without the dims ``sample`` and ``time``.
        indices: numbers of the samples, increasing.

    Yields:
        The numbers of the samples in this piece, its first frame, and its values with the axes of
        ``variable``. A piece holds about `CHUNK_BYTES`: many small samples, or a few frames of a
        long trajectory. A variable without samples is one piece with no sample numbers.

    Example:
        >>> variable = xr.Variable(("sample", "x"), np.arange(6.0).reshape(3, 2))
        >>> [(i.tolist(), values.shape) for i, _, values in iter_chunks(variable, [0, 2])]
        [([0, 2], (2, 2))]
    """
    if "sample" not in variable.dims:
        yield np.zeros(0, int), 0, np.asarray(variable.values)
        return
    stored = stored_array(variable)
    axis = variable.dims.index("sample")
    indices = np.asarray(indices)
    samples, frames = _piece(variable, (1,) * variable.ndim if stored is None else stored.chunks)
    for group in np.split(indices, np.flatnonzero(np.diff(indices // samples)) + 1):
        for first in range(0, variable.sizes.get("time", 1), frames):
            window = {
                "sample": slice(int(group[0]), int(group[-1]) + 1),
                "time": slice(first, first + frames),
            }
            key = tuple(window.get(str(dim), slice(None)) for dim in variable.dims)
            values = variable[key].values if stored is None else stored.read(key)
            if values.shape[axis] != len(group):
                values = values.take(group - group[0], axis)
            yield group, first, values


def find_nonfinite(
    variable: xr.Variable, missing: xr.Variable | None = None
) -> dict[str, int] | None:
    """Index, by dim, of the first value that is NaN or infinite; None if all are finite.

    Args:
        variable: lazy or in memory.
        missing: over dims of the variable, where NaN is allowed.

    Example:
        >>> find_nonfinite(xr.Variable("x", [1.0, np.nan]))
        {'x': 1}
        >>> find_nonfinite(xr.Variable("x", [1.0, np.nan]), xr.Variable("x", [False, True]))
    """
    if variable.dtype.kind not in "fc":
        return None
    allowed: Any = False
    if missing is not None:
        sizes = {dim: missing.sizes.get(dim, 1) for dim in variable.dims}
        allowed = missing.set_dims(sizes).transpose(*variable.dims).values
    for numbers, first, values in iter_chunks(variable, np.arange(variable.sizes.get("sample", 0))):
        bad = ~np.isfinite(values)
        if bad.any():
            bad &= np.isinf(values) | ~np.asarray(allowed)
        if bad.any():
            start = {"sample": int(numbers[0]) if len(numbers) else 0, "time": first}
            index = map(int, np.argwhere(bad)[0])
            return {
                str(dim): i + start.get(str(dim), 0)
                for dim, i in zip(variable.dims, index, strict=True)
            }
    return None


def _piece(variable: xr.Variable, chunks: tuple[int, ...]) -> tuple[int, int]:
    """Samples and frames to read at a time: whole chunks of about `CHUNK_BYTES` together."""
    chunk = dict(zip(variable.dims, chunks, strict=True))
    all_frames = variable.sizes.get("time", 1)
    sample_bytes = variable.dtype.itemsize * math.prod(variable.shape) / variable.sizes["sample"]
    samples = chunk["sample"] * max(1, int(CHUNK_BYTES / max(sample_bytes, 1)) // chunk["sample"])
    frames = max(1, int(CHUNK_BYTES / max(sample_bytes * samples / all_frames, 1)))
    return samples, max(frames // chunk.get("time", 1), 1) * chunk.get("time", 1)
