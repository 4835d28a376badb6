"""Coordinates of space axes, with the bounds of their domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

# Generators of the symmetry group of problems on a square, for the attribute ``symmetries``.
SQUARE_SYMMETRIES = [{"flip": ["x"]}, {"flip": ["y"]}, {"permute": ["y", "x"]}]


def cell_center_bounds(centers: np.ndarray) -> tuple[float, float]:
    """The domain of equal cells with these centers: half a cell beyond the first and the last.

    Example:
        >>> cell_center_bounds(np.array([0.25, 0.75]))
        (0.0, 1.0)
    """
    half = (float(centers[-1]) - float(centers[0])) / (2 * max(len(centers) - 1, 1))
    return float(centers[0]) - half, float(centers[-1]) + half


def axis_bounds(values: np.ndarray, *, periodic: bool) -> tuple[float, float]:
    """The domain of a stored axis.

    A periodic axis of n points with spacing h has the period n h. It begins at its first point if
    that is the origin, else half a cell before it. An axis that is not periodic ends at its first
    and last point, or half a cell beyond if the first point is half a cell from the origin (cell
    centers).

    Example:
        >>> axis_bounds(np.arange(4) / 4, periodic=True)
        (0.0, 1.0)
        >>> axis_bounds(np.linspace(0, 1, 4), periodic=False)
        (0.0, 1.0)
    """
    first = float(values[0])
    last = float(values[-1])
    step = (last - first) / max(len(values) - 1, 1)
    if periodic:
        at_origin = abs(first) < 1e-6 * abs(step)
        return (0.0, step * len(values)) if at_origin else cell_center_bounds(values)
    centers = abs(abs(first) - abs(step) / 2) < 1e-4 * abs(step)
    return cell_center_bounds(values) if centers else (first, last)


def space_coordinate(
    name: str, values: np.ndarray, *, periodic: bool | None = None, **attrs: Any
) -> xr.Variable:
    """The coordinate of a space axis: values as stored, with ``bounds`` and ``periodic``.

    Args:
        name: the axis.
        values: one per point.
        periodic: whether the axis is periodic; None if unknown, and the attribute is omitted.
        attrs: further attributes, such as ``units``; ``bounds`` replaces the computed ones.

    Example:
        >>> space_coordinate("x", np.arange(4) / 4, periodic=True, units="m").attrs
        {'bounds': (0.0, 1.0), 'periodic': 1, 'units': 'm'}
    """
    values = np.asarray(values)
    known = {} if periodic is None else {"periodic": int(periodic)}
    bounds = axis_bounds(values, periodic=bool(periodic))
    return xr.Variable((name,), values, {"bounds": bounds, **known, **attrs})


def coordinates_per_sample(name: str, values: np.ndarray, **attrs: Any) -> dict[str, xr.Variable]:
    """Coordinates of an axis that is stored once per sample, ``values`` of shape (N, n).

    Returns:
        The axis of the first sample and, if the samples differ, ``sample_<name>`` with all of them.
    """
    values = np.asarray(values)
    if "periodic" in attrs:
        attrs["periodic"] = int(attrs["periodic"])  # netCDF attributes have no booleans
    if name == "time":
        first = xr.Variable(("time",), values[0], attrs)
    else:
        first = space_coordinate(name, values[0], **attrs)
    if (values == values[0]).all():
        return {name: first}
    return {name: first, f"sample_{name}": xr.Variable(("sample", name), values, attrs)}
