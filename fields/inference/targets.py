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
    values = [schema.dt] if times is None else np.asarray(times, dtype=np.float64)
    requested = torch.as_tensor(values).double()
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
        DataError: ``at`` does not give exactly the schema's coordinates.
    """
    if set(at) != set(schema.coords):
        raise DataError(
            f"`at` gives {sorted(at)}, but the model needs exactly the coordinates "
            f"{list(schema.coords)}."
        )
    return points_of(target_coords(at, schema), schema)


def target_coords(at: Mapping[str, Any], schema: Schema) -> xr.Dataset:
    """Make a dataset of coordinates only: over one dim ``point``, or an axis per coordinate."""
    scattered = all(
        isinstance(values, xr.DataArray)
        and values.ndim == 1
        and values.dims[0] not in schema.coords
        for values in at.values()
    )
    if scattered:
        dim = next(iter(at.values())).dims[0]
        columns = {n: ("point", np.asarray(at[n].rename({dim: "point"}))) for n in schema.coords}
        return xr.Dataset(coords=columns)
    axes = {name: (name, np.asarray(at[name], dtype=np.float64)) for name in schema.coords}
    return xr.Dataset(coords=axes)


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


def check_inside(points: Float[Tensor, "m d"] | None, schema: Schema) -> None:
    """Refuse points outside the domain of the training data; periodic axes accept any value.

    Raises:
        DataError: a point lies outside.
    """
    for a, name in enumerate(schema.coords):
        if points is None or schema.periodic[a]:
            continue
        low, high = schema.bounds[a]
        smallest = float(points[:, a].min())
        largest = float(points[:, a].max())
        slack = 1e-6 * (high - low)
        if smallest < low - slack or largest > high + slack:
            raise DataError(
                f"Coordinate {name!r} runs from {smallest:.6g} to {largest:.6g}, but the model was "
                f"trained on [{low:.6g}, {high:.6g}] and would extrapolate. Request points inside, "
                "or shift and scale the coordinate."
            )
