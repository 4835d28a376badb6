"""Trajectories cut into windows of frames: given ones, then wanted ones."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import xarray as xr

from fields.core.sample import Schema
from fields.io.base import DataError


class Windows:
    """Which frames of which trajectory each item is; a static map is one window per sample.

    Args:
        ds: the dataset.
        schema: how many frames are given.
        indices: which samples.
        horizon: wanted frames per window; None for all that follow the first given ones.
        stride: frames from one of a window to the next.
        step: frames from the beginning of one window to that of the next.
    """

    def __init__(
        self,
        ds: xr.Dataset,
        schema: Schema,
        indices: np.ndarray,
        *,
        horizon: int | None,
        stride: int = 1,
        step: int = 1,
    ):
        evolves = schema.dt is not None
        self.stride, self.step, self.history = stride, step, schema.history
        self.frames = ds.sizes.get("time", 1) if evolves else 1
        stored = (
            np.asarray(ds["sample_time" if "sample_time" in ds else "time"], dtype=np.float64)
            if evolves
            else np.zeros(1)
        )
        self.times = stored[indices] if stored.ndim == 2 else stored
        lengths = np.full(len(indices), self.frames)
        if self.times.ndim == 2:  # trajectories that end early are filled up with NaN
            lengths = np.isfinite(self.times).sum(1)
        shortest = -(-int(lengths.min(initial=self.frames)) // stride)
        self.horizon = max(shortest - self.history, 1) if horizon is None else horizon
        self.span = (self.history + self.horizon - 1) * stride + 1 if evolves else 1
        counts = np.maximum((lengths - self.span) // step + 1, 0)
        self.most = int(counts.max(initial=0 if self.frames < self.span else 1))
        if self.most < 1:
            apart = f", {stride} frames apart," if stride > 1 else ""
            raise DataError(
                f"A window of {self.history} given and {self.horizon} wanted frames{apart} is longer than the {self.frames} "
                "frames stored. Shorten the history or the horizon."
            )
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, item: int) -> tuple[int, int]:
        """The position of an item's sample among the indices, and its first frame."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        item %= len(self)
        sample = bisect_right(self.starts, item) - 1
        return sample, (item - int(self.starts[sample])) * self.step

    def after(self, sample: int, frames: slice) -> np.ndarray:
        """(s) times of the wanted frames of a window, from its last given one."""
        times = (self.times[sample] if self.times.ndim == 2 else self.times)[frames]
        return times[self.history :] - times[self.history - 1]
