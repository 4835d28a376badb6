"""The wake of a cylinder from a third of the points and half of the times."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

FRAMES = 6  # seen ones of a window
# shares of the points that are seen, and of those that select the weights; draws per window
SEEN = 0.3
HELD = 0.1
DRAWS = 2
NAMES = {"u": "velocity along x", "v": "velocity along y", "p": "pressure"}


def cylinder_wake(source: Path, seed: int) -> xr.Dataset:
    """Flow behind a cylinder at Re = 100 on 5000 points at 100 times, 0.2 apart.

    From 30 % of the points at every second time, the fields at the other points and times.

    A sample is a window of 6 observed frames, with time as a coordinate from its beginning. Some
    observations are inputs, others are targets. Training uses observations only: a random 60 % of
    those of 90 % of the sensors are inputs and the rest are targets (2 draws per window). One
    frame inside the window is never an input, so that times between frames are learned too. The
    other 10 % of the sensors select the weights, again with one frame left out. In the test all
    observations are inputs, and the targets were never observed: all points at the time in the
    middle of the window, and the points without a sensor at the observed time before it. Near the
    ends of the record the window stays within it. The last time, after which nothing is observed,
    is not used.
    """
    with h5py.File(source) as file:
        xy = np.asarray(file["xy"], dtype="f8")
        t = np.asarray(file["t"], dtype="f8")
        values = np.concatenate(
            [np.asarray(file["velocity"]), np.asarray(file["pressure"])[..., None]], axis=-1
        )
    random = np.random.default_rng(seed)
    order = random.permutation(len(xy))
    seen = order[: round(SEEN * len(xy))]
    unseen = order[round(SEEN * len(xy)) :]
    held = seen[: round(HELD * len(seen))]
    used = seen[round(HELD * len(seen)) :]
    samples: list[tuple[int, xr.Dataset]] = []

    def add(code: int, first: int, given: np.ndarray, wanted: np.ndarray) -> None:
        samples.append((code, _window(xy, t - t[first], values, given, wanted)))

    span = 2 * (FRAMES - 1)
    for first in range(0, len(t) - span, 2):
        frames = np.arange(first, first + span + 1, 2)
        every = _pairs(frames, used)
        for _ in range(DRAWS):
            shuffled = random.permutation(every)
            given = (np.arange(len(every)) < 0.6 * len(every)) & (
                shuffled[:, 0] != random.choice(frames[1:-1])
            )
            add(0, first, shuffled[given], shuffled[~given])
        add(1, first, every[every[:, 0] != random.choice(frames[1:-1])], _pairs(frames, held))
    for frame in range(1, len(t) - 1, 2):
        first = min(max(frame - FRAMES + 1, 0), len(t) - 2 - span)
        wanted = np.concatenate(
            [_pairs(np.array([frame]), np.arange(len(xy))), _pairs(np.array([frame - 1]), unseen)]
        )
        add(2, first, _pairs(np.arange(first, first + span + 1, 2), seen), wanted)
    return _joined(samples, xy, t[span] - t[0])


def _window(
    xy: np.ndarray, t: np.ndarray, values: np.ndarray, given: np.ndarray, wanted: np.ndarray
) -> xr.Dataset:
    """One window; ``given`` and ``wanted`` are pairs (frame, point)."""
    pairs = np.concatenate([given, wanted])
    known = np.arange(len(pairs)) < len(given)
    data = {
        name: ("point", t[pairs[:, 0]] if name == "t" else xy[pairs[:, 1], "xy".index(name)])
        for name in "xyt"
    }
    here = values[pairs[:, 0], pairs[:, 1]].astype("f4")
    for c, name in enumerate(NAMES):
        data[f"{name}_seen"] = ("point", np.where(known, here[:, c], np.nan))
        data[name] = ("point", np.where(known, np.nan, here[:, c]))
    return xr.Dataset(data)


def _pairs(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(frames, points, indexing="ij"), axis=-1).reshape(-1, 2)


def _joined(samples: list[tuple[int, xr.Dataset]], xy: np.ndarray, length: float) -> xr.Dataset:
    """All samples along a new axis, shorter ones padded with NaN, with roles and bounds."""
    longest = max(one.sizes["point"] for _, one in samples)
    padded = [
        one.pad(point=(0, longest - one.sizes["point"]), constant_values=np.nan)
        for _, one in samples
    ]
    ds = xr.concat(padded, "sample").astype("f4").set_coords(list("xyt"))
    bounds = {
        "x": (xy[:, 0].min(), xy[:, 0].max()),
        "y": (xy[:, 1].min(), xy[:, 1].max()),
        "t": (0.0, length),
    }
    for axis in "xyt":
        ds[axis].attrs["bounds"] = tuple(map(float, bounds[axis]))
    for name, long_name in NAMES.items():
        ds[name].attrs |= {"role": "output", "long_name": long_name}
        ds[f"{name}_seen"].attrs |= {"role": "input", "long_name": f"{long_name}, where it is seen"}
    split = np.array([code for code, _ in samples], dtype=np.int8)
    mirror = {"flip": ["y"], "negate": ["v", "v_seen"]}
    return ds.assign_coords(split=("sample", split)).assign_attrs(symmetries=json.dumps([mirror]))
