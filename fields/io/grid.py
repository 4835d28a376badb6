"""What a coordinate tells about its domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def bounds_of_cells(centers: np.ndarray) -> tuple[float, float]:
    """The domain whose equal cells have these ``centers``: half a cell further on either side."""
    half = (float(centers[-1]) - float(centers[0])) / (2 * max(len(centers) - 1, 1))
    return float(centers[0]) - half, float(centers[-1]) + half


def bounds_of(values: np.ndarray, *, periodic: bool) -> tuple[float, float]:
    """The domain of a stored axis.

    A periodic axis of n points with spacing h has period n h, from its first point if that is the
    origin, else from half a cell before it. Otherwise the axis ends at its first and last point, or
    half a cell further where the first point is half a cell away from the origin (cell centers).
    """
    first, last = float(values[0]), float(values[-1])
    step = (last - first) / max(len(values) - 1, 1)
    if periodic:
        return (
            (0.0, step * len(values)) if abs(first) < 1e-6 * abs(step) else bounds_of_cells(values)
        )
    return (
        bounds_of_cells(values)
        if abs(abs(first) - abs(step) / 2) < 1e-4 * abs(step)
        else (first, last)
    )


def axis(
    name: str, values: np.ndarray, *, periodic: bool | None = None, **attrs: Any
) -> xr.Variable:
    """The coordinate of a space axis: values as stored; bounds, and whether it closes on itself if that is known."""
    values = np.asarray(values)
    known = {} if periodic is None else {"periodic": int(periodic)}
    return xr.Variable(
        (name,), values, {"bounds": bounds_of(values, periodic=bool(periodic)), **known, **attrs}
    )


def common_axis(name: str, values: np.ndarray, **attrs: Any) -> dict[str, xr.Variable]:
    """Coordinates of an axis given per sample: one axis, and ``sample_<name>`` with all of them if they differ."""
    values = np.asarray(values)
    attrs |= (
        {"periodic": int(attrs["periodic"])} if "periodic" in attrs else {}
    )  # netCDF has no true and false
    first = (
        xr.Variable(("time",), values[0], attrs)
        if name == "time"
        else axis(name, values[0], **attrs)
    )
    if (values == values[0]).all():
        return {name: first}
    return {name: first, f"sample_{name}": xr.Variable(("sample", name), values, attrs)}
