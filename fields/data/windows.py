"""Trajectories cut into windows of frames: input frames followed by target frames."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import xarray as xr

from fields.core.sample import Schema
from fields.io.base import DataError


class Windows:
    """Which frames of which trajectory make up each item; a static map is one window per sample.

    A window has ``history`` input frames and ``horizon`` target frames, ``time_stride`` frames of
    the file apart. Windows do not reach beyond the last frame of a trajectory that ends early
    (its times are NaN from there on).

    Args:
        ds: the dataset.
        schema: gives the number of input frames.
        indices: which samples.
        horizon: target frames per window; None for all that follow the first input frames.
        time_stride: frames of the file from one frame of a window to the next.
        window_stride: frames of the file from the beginning of one window to that of the next.

    Raises:
        DataError: a window is longer than every trajectory.

    Example:
        >>> u = (("sample", "time", "x"), np.zeros((2, 5, 3)))
        >>> ds = xr.Dataset({"u": u}, coords={"time": np.arange(5.0)})
        >>> schema = Schema(("x",), ("u",), ("u",), bounds=((0.0, 1.0),), dt=1.0, history=2)
        >>> windows = Windows(ds, schema, np.arange(2), horizon=1)
        >>> len(windows), windows.locate(4)
        (6, (1, 1))
    """

    def __init__(
        self,
        ds: xr.Dataset,
        schema: Schema,
        indices: np.ndarray,
        *,
        horizon: int | None,
        time_stride: int = 1,
        window_stride: int = 1,
    ):
        evolves = schema.dt is not None
        self.history = schema.history
        self.time_stride = time_stride
        self.window_stride = window_stride
        self.frames = ds.sizes.get("time", 1) if evolves else 1
        self.times = _times(ds, indices) if evolves else np.zeros(1)
        lengths = np.full(len(indices), self.frames)
        if self.times.ndim == 2:
            lengths = np.isfinite(self.times).sum(1)
        shortest = -(-int(lengths.min(initial=self.frames)) // time_stride)
        self.horizon = max(shortest - self.history, 1) if horizon is None else horizon
        # Frames of the file from the first frame of a window to its last one.
        self.span = (self.history + self.horizon - 1) * time_stride + 1 if evolves else 1
        counts = np.maximum((lengths - self.span) // window_stride + 1, 0)
        self.max_per_sample = int(counts.max(initial=0 if self.frames < self.span else 1))
        if self.max_per_sample < 1:
            spacing = f", {time_stride} frames apart," if time_stride > 1 else ""
            raise DataError(
                f"A window of {self.history} input and {self.horizon} target frames{spacing} is "
                f"longer than the {self.frames} frames stored. Use a shorter history or horizon."
            )
        # Items of sample i are numbered from offsets[i] to offsets[i + 1].
        self.offsets = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def locate(self, item: int) -> tuple[int, int]:
        """The position of an item's sample among the indices, and the first frame of its window."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"There is no item {item}: the dataset has {len(self)} items.")
        item %= len(self)
        sample = bisect_right(self.offsets, item) - 1
        return sample, (item - int(self.offsets[sample])) * self.window_stride

    def items_of(self, sample: int) -> np.ndarray:
        """The numbers of all items that come from one of the indices."""
        return np.arange(self.offsets[sample], self.offsets[sample + 1])

    def frame_slice(self, first: int) -> slice:
        """The frames of the file that make up the window which begins at ``first``."""
        return slice(first, first + self.span, self.time_stride)

    def target_times(self, sample: int, frames: slice) -> np.ndarray:
        """Times of the target frames relative to the last input frame, shape (s)."""
        times = (self.times[sample] if self.times.ndim == 2 else self.times)[frames]
        return times[self.history :] - times[self.history - 1]


def _times(ds: xr.Dataset, indices: np.ndarray) -> np.ndarray:
    """Times of all frames, (s) or, where they differ among samples, (b s)."""
    stored = np.asarray(ds["sample_time" if "sample_time" in ds else "time"], dtype=np.float64)
    return stored[indices] if stored.ndim == 2 else stored
