"""Checks of where a prediction is requested: inside the domain, with the model's period."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from fields.core.sample import Schema
from fields.io.base import DataError

# The gap between the last point of a periodic grid and its first one, in steps of the grid. A grid
# of which every k-th point is kept may end with a shorter gap, one that lacks a point has a longer
# one; 0 means that the first point is repeated.
SEAM = (0.2, 1.9)


def check_domain(ds: xr.Dataset, schema: Schema) -> None:
    """Refuse data whose coordinates are not those of the model's domain.

    Along an axis that is not periodic, every point lies inside the bounds. A grid along a periodic
    axis has the period of the model and begins where the model's period begins, up to whole
    periods; scattered points lie in the period or in one of its two neighbors.

    Args:
        ds: the coordinates, in the units of the model, of a grid or over ``point``.
        schema: gives the bounds and the periodic axes.

    Raises:
        DataError: a coordinate is not finite or does not fit the domain.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), periodic=(True,), bounds=((0.0, 1.0),))
        >>> check_domain(xr.Dataset(coords={"x": np.arange(4) / 4 + 2}), schema)
        >>> check_domain(xr.Dataset(coords={"x": np.arange(4)}), schema)
        Traceback (most recent call last):
        fields.io.base.DataError: The grid along 'x' has the period 4, but the model's is 1. ...
    """
    for name, bounds, periodic in zip(schema.coords, schema.bounds, schema.periodic, strict=True):
        if f"sample_{name}" in ds.variables:
            raise DataError(
                f"The axis {name!r} differs between the samples (`sample_{name}`), but a model "
                "reads one grid for all samples. Interpolate the samples to one grid, or list the "
                "points over a dim `point`."
            )
        values = np.asarray(ds[name], dtype=np.float64)
        scattered = "point" in ds[name].dims
        _check_finite(name, values, padded=scattered)
        if periodic and not scattered:
            _check_period(name, ds[name], bounds)
        else:
            check_range(name, values, bounds, periodic=periodic)


def check_requested(at: xr.Dataset, schema: Schema) -> None:
    """Refuse requested points that are not finite or lie outside the domain.

    Along a periodic axis, they may lie one period beyond either end.

    Raises:
        DataError: a point lies outside; the message says along which axis.
    """
    for name, bounds, periodic in zip(schema.coords, schema.bounds, schema.periodic, strict=True):
        values = np.asarray(at[name], dtype=np.float64)
        _check_finite(name, values, padded=False)
        check_range(name, values, bounds, periodic=periodic)


def check_range(
    name: str, values: np.ndarray, bounds: tuple[float, float], *, periodic: bool
) -> None:
    """Refuse coordinates outside the bounds, or more than one period outside them.

    Raises:
        DataError: one lies outside.
    """
    low, high = bounds
    slack = (1.0 if periodic else 1e-6) * (high - low)
    smallest = float(np.nanmin(values))
    largest = float(np.nanmax(values))
    if smallest >= low - slack * (1 + 1e-6) and largest <= high + slack * (1 + 1e-6):
        return
    if periodic:
        raise DataError(
            f"Coordinate {name!r} runs from {smallest:.6g} to {largest:.6g}, more than one period "
            f"outside the model's period [{low:.6g}, {high:.6g}). If the unit is the same, wrap "
            "the coordinate into the period; else convert it."
        )
    raise DataError(
        f"Coordinate {name!r} runs from {smallest:.6g} to {largest:.6g}, but the model was "
        f"trained on [{low:.6g}, {high:.6g}] and would extrapolate. Request points inside, "
        "or shift and scale the coordinate."
    )


def _check_finite(name: str, values: np.ndarray, *, padded: bool) -> None:
    if not values.size:
        raise DataError(f"There are no points along {name!r}. Give at least one.")
    finite = np.isfinite(values)
    # Samples with fewer scattered points are padded with NaN.
    wrong = np.isinf(values) if padded and finite.any() else ~finite
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"Coordinate {name!r} is {values[place]} at index {', '.join(map(str, place))}. "
            "Every point needs finite coordinates: correct it or drop the point."
        )


def _check_period(name: str, coordinate: xr.DataArray, bounds: tuple[float, float]) -> None:
    """Refuse a grid axis whose period or whose beginning is not that of the model."""
    low, high = bounds
    period = high - low
    values = np.sort(np.asarray(coordinate, dtype=np.float64))
    steps = np.diff(values)
    step = float(steps.mean()) if len(steps) else period
    gap = (period - (values[-1] - values[0])) / step
    even = len(steps) > 0 and float(np.ptp(steps)) <= 1e-2 * step
    if even and abs(gap) < 1e-3:
        raise DataError(
            f"The grid along {name!r} runs from {values[0]:.6g} to {values[-1]:.6g}: its last "
            "point repeats the first one, a period later. Drop it with "
            f"`ds.isel({name}=slice(0, -1))`."
        )
    fits = not even or SEAM[0] <= gap <= SEAM[1]
    own = _stated_period(coordinate.attrs)
    own = own if own is not None and fits else period if fits else step * len(values)
    if abs(own - period) > 1e-4 * period:
        raise DataError(
            f"The grid along {name!r} has the period {own:.6g}, but the model's is {period:.6g}. "
            f"Give a grid over the whole period, with coordinates in [{low:.6g}, {high:.6g}) in "
            "the model's unit."
        )
    start = (values[0] - low) % period
    start = start - period if start > period - 1e-3 * step else start
    if start > step * (1 + 1e-3) or values[-1] - values[0] > period * (1 + 1e-6):
        raise DataError(
            f"The grid along {name!r} runs from {values[0]:.6g} to {values[-1]:.6g}, but the "
            f"model's period begins at {low:.6g}. If these are the same positions, wrap them: "
            f"`ds.assign_coords({name}={low:g} + (ds.{name} - {low:g}) % {period:g})"
            f".sortby({name!r})`."
        )


def _stated_period(attrs: Mapping[str, Any]) -> float | None:
    """The length of the bounds that a periodic coordinate states."""
    bounds = attrs.get("bounds")
    if bounds is None or isinstance(bounds, str) or not attrs.get("periodic"):
        return None
    low, high = (float(end) for end in bounds)
    return high - low
