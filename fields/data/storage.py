"""How the arrays of a dataset are stored in their file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from fields.data.reading import Columns
from fields.io.concatenated import ConcatenatedArray


class Storage(NamedTuple):
    """Chunks and sizes of the arrays, for samplers that read the file in the order it is stored.

    Args:
        chunk_samples, chunk_frames: samples and frames that share a chunk.
        frame_bytes: size of a frame of the largest array.
        arrays: how many arrays are read from the file.
        concatenated: whether they are spread over many files.

    Example:
        >>> Storage(8, 1, frame_bytes=512, arrays=2, concatenated=False).chunk_samples
        8
    """

    chunk_samples: int
    chunk_frames: int
    frame_bytes: int
    arrays: int
    concatenated: bool

    @classmethod
    def of(cls, groups: Iterable[Columns]) -> Storage:
        """Of the arrays that are read from a file and have samples; the largest chunks count."""
        samples = [1]
        frames = [1]
        sizes = [1]
        arrays = []
        for columns in groups:
            stored = columns.stored
            if stored is None or columns.sample_axis is None:
                continue
            arrays.append(stored)
            time = columns.time_axis
            samples.append(stored.chunks[columns.sample_axis])
            frames.append(1 if time is None else stored.chunks[time])
            count = stored.shape[columns.sample_axis] * (1 if time is None else stored.shape[time])
            sizes.append(math.prod(stored.shape) * stored.dtype.itemsize // max(count, 1))
        concatenated = any(isinstance(array, ConcatenatedArray) for array in arrays)
        return cls(max(samples), max(frames), max(sizes), max(1, len(arrays)), concatenated)
