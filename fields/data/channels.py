"""Channels of a sample put together from the parts that were read for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fields.data.columns import Columns


class Run(NamedTuple):
    """Channels that come from neighbouring columns of one part of what was read; ``timed`` if that has frames."""

    part: int
    timed: bool
    columns: slice
    channels: slice

    @classmethod
    def find(cls, parts: Sequence[Columns], names: Sequence[str]) -> list[Run]:
        """Where the channels ``names`` come from."""
        runs: list[Run] = []
        for channel, name in enumerate(names):
            part, found = next((i, columns) for i, columns in enumerate(parts) if name in columns.names)
            column, last = found.names.index(name), runs[-1] if runs else None
            if last is not None and (last.part, last.columns.stop) == (part, column):
                runs[-1] = last._replace(
                    columns=slice(last.columns.start, column + 1), channels=slice(last.channels.start, channel + 1)
                )
            else:
                runs.append(cls(part, found.time is not None, slice(column, column + 1), slice(channel, channel + 1)))
        return runs

    def of(self, parts: Sequence[np.ndarray], frames: slice) -> np.ndarray:
        """(s n k) values; what has no frames stands beside every one of them."""
        values = parts[self.part]
        return (values[frames] if self.timed else values)[..., self.columns]


def gathered(parts: Sequence[np.ndarray], runs: Sequence[Run], frames: slice) -> Tensor:
    """(s n c) from parts (s n k); a view of what was read if it is one run of it."""
    found = [run.of(parts, frames) for run in runs]
    if len(found) == 1:
        return _tensor(found[0])
    out = np.empty((max(map(len, found)), found[0].shape[1], runs[-1].channels.stop), np.float32)
    for run, values in zip(runs, found, strict=True):
        for column in range(values.shape[-1]):  # one at a time: numpy copies long rows far faster than many short ones
            out[..., run.channels.start + column] = values[..., column]
    return torch.from_numpy(out)


def stacked(parts: Sequence[np.ndarray], runs: Sequence[Run], history: int) -> Tensor:
    """(n (s c)) of the first frames, the oldest first."""
    channels, given = runs[-1].channels.stop, slice(0, history)
    if history == 1:
        return gathered(parts, runs, given)[0]
    found = [run.of(parts, given) for run in runs]
    out = np.empty((found[0].shape[1], history, channels), np.float32)
    for run, values in zip(runs, found, strict=True):
        for column in range(values.shape[-1]):  # one at a time, as above
            for frame in range(history):
                out[:, frame, run.channels.start + column] = values[frame if run.timed else 0, :, column]
    return torch.from_numpy(out.reshape(-1, history * channels))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())
