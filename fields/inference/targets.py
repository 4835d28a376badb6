"""The requested times and points of a prediction, and the checks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Schema
from fields.data.schema import points_of
from fields.inference.domain import check_requested
from fields.inference.units import to_units_of
from fields.io.base import DataError


def target_times(
    ds: xr.Dataset, times: Sequence[float] | None, schema: Schema
) -> Float[Tensor, "s"]:
    """Find the requested times, counted from the last given frame; a single 0 for static maps.

    They are in double precision, because in single precision the times of a long rollout would no
    longer be whole numbers of frames.

    Raises:
        DataError: times are given for a static map, or they do not ascend from 0.
    """
    if schema.dt is None:
        if times is not None:
            raise DataError(
                "`times` are given, but the model is a static map without time. Omit `times`."
            )
        return torch.zeros(1)
    if times is None and ds.sizes.get("time", 1) > schema.history:
        stored = np.asarray(ds["time"], dtype=np.float64)
        times = stored[schema.history :] - stored[schema.history - 1]
    values = [schema.dt] if times is None else np.asarray(times)
    if np.asarray(values).dtype.kind not in "iuf":
        raise DataError(
            f"`times` are of type {np.asarray(values).dtype}, but they are numbers in the unit of "
            f"the model's time ({schema.units.get('time', 'not stated')}), counted from the last "
            "given frame. Convert them."
        )
    requested = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if not bool(requested.isfinite().all()):
        raise DataError(f"`times` are {requested.tolist()}. Every time must be finite.")
    if requested.ndim != 1 or not len(requested):
        raise DataError("`times` must be a list with at least one time.")
    if bool((requested.diff(prepend=requested.new_zeros(1)) < 0).any()):
        raise DataError(
            f"`times` are {requested.tolist()}. They count from the last given frame, so they must "
            "ascend and must not be negative."
        )
    return requested


def target_points(at: Mapping[str, Any], schema: Schema) -> Float[Tensor, "m d"]:
    """Collect the requested points of a grid, or scattered points given over one dim.

    Raises:
        DataError: ``at`` does not give exactly the schema's coordinates, or a point is not finite
            or lies outside the domain.
    """
    if set(at) != set(schema.coords):
        raise DataError(
            f"`at` gives {sorted(at)}, but the model needs exactly the coordinates "
            f"{list(schema.coords)}."
        )
    coords = to_units_of(target_coords(at, schema), schema)
    check_requested(coords, schema)
    return points_of(coords, schema)


def target_coords(at: Mapping[str, Any], schema: Schema) -> xr.Dataset:
    """Make a dataset of coordinates only: over one dim ``point``, or an axis per coordinate."""
    scattered = all(
        isinstance(values, xr.DataArray)
        and values.ndim == 1
        and values.dims[0] not in schema.coords
        for values in at.values()
    )
    columns = {}
    for name in schema.coords:
        dim = "point" if scattered else name
        values = _numbers(name, at[name])
        columns[name] = (dim, values, getattr(at[name], "attrs", {}))
    lengths = {len(values) for _, values, _ in columns.values()}
    if scattered and len(lengths) > 1:
        raise DataError(
            f"`at` gives scattered points with {sorted(lengths)} coordinates along different axes. "
            "Give one value per point for every coordinate."
        )
    return xr.Dataset(coords=columns)


def _numbers(name: str, values: Any) -> Float[np.ndarray, "n"]:
    """The requested coordinates along one axis in double precision; a number is one point."""
    try:
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"`at[{name!r}]` does not consist of numbers ({error}).") from error
    if numbers.ndim != 1:
        raise DataError(
            f"`at[{name!r}]` has {numbers.ndim} axes. Give a 1-D list for each axis of a grid, or "
            "DataArrays over one common dim for scattered points."
        )
    return numbers


def regular_grid(sizes: str, schema: Schema) -> dict[str, Float[np.ndarray, "n"]]:
    """Lay a regular grid over the domain, for a size such as ``256x256``.

    Periodic axes omit their right end, which is their left end again; the others include it.

    Raises:
        DataError: there is not one size of at least 2 per axis.

    Example:
        >>> schema = Schema(
        ...     coords=("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),), periodic=(True,)
        ... )
        >>> regular_grid("4", schema)["x"].tolist()
        [0.0, 0.25, 0.5, 0.75]
    """
    try:
        counts = [int(word) for word in sizes.lower().split("x")]
    except ValueError:
        counts = []
    if len(counts) != schema.dim or min(counts) < 2:
        example = "x".join(["256"] * schema.dim)
        raise DataError(
            f"--at {sizes!r} does not give one size of at least 2 per axis of {schema.coords}. "
            f"Write, for example, {example}."
        )
    return {
        name: np.linspace(low, high, count, endpoint=not periodic)
        for name, (low, high), count, periodic in zip(
            schema.coords, schema.bounds, counts, schema.periodic, strict=True
        )
    }
