"""From a dataset to batches for a model: given frames, requested points and times, and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.protocols import Predictor
from fields.core.sample import Sample, Schema, collate, to_device
from fields.data.chunks import find_nonfinite
from fields.data.dataset import FieldDataset
from fields.data.schema import points_of, require
from fields.io.base import DataError


class PredictionRequest(NamedTuple):
    """The input frames, the requested times, and the batches that ask a model for them.

    Example:
        >>> PredictionRequest._fields
        ('ds', 'times', 'batches')
    """

    ds: xr.Dataset  # the input frames
    times: Float[Tensor, "s"]  # requested times from the last given frame, double precision
    batches: Iterator[Sample]  # on the model's device


def prepare_request(
    model: Predictor,
    ds: xr.Dataset,
    *,
    at: Mapping[str, Any] | None,
    times: Sequence[float] | None,
    batch_size: int,
) -> PredictionRequest:
    """Check a dataset and the requested points and times, and cut them into batches.

    Args:
        model: the model that is to answer.
        ds: the schema's inputs and coordinates, in physical units.
        at: other points, see `Operator.predict`.
        times: other times, see `Operator.predict`.
        batch_size: number of samples per batch.

    Raises:
        DataError: a variable or coordinate is missing, a value is not finite, or a point lies
            outside the domain of the training data.
    """
    schema = model.schema
    require(ds, replace(schema, outputs=()))
    ds = ds if "sample" in ds.dims else ds.expand_dims("sample")
    requested = target_times(ds, times, schema)
    ds = given_frames(ds, schema)
    points = None if at is None else target_points(at, schema)
    rows = FieldDataset(_with_outputs(ds, schema), schema, horizon=0)
    check_finite(ds, schema)
    check_inside(rows.shared_points, schema)
    check_inside(points, schema)
    return PredictionRequest(ds, requested, _batches(model, rows, points, requested, batch_size))


def _batches(
    model: Predictor, rows: FieldDataset, points: Tensor | None, times: Tensor, batch_size: int
) -> Iterator[Sample]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, len(rows), batch_size):
        batch = collate([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
        if points is not None:
            mask = torch.ones(1, len(points), dtype=torch.bool)
            batch = batch._replace(y=points[None], y_mask=mask)
        yield to_device(batch._replace(t=times.expand(len(batch.u), -1)), device)


def first_samples(model: Predictor, ds: xr.Dataset, *, samples: int) -> Sample:
    """Collate what a model is given of the first test samples.

    Where the dataset records no test split, the validation split is used, or else any samples.
    """
    if "split" in ds.coords:
        split = np.asarray(ds["split"])  # numbered in the order of SPLITS: the test split is last
        ds = ds.isel(sample=np.flatnonzero(split == split.max()))
    require(ds, replace(model.schema, outputs=()))
    ds = given_frames(ds.isel(sample=slice(0, samples)), model.schema)
    rows = FieldDataset(_with_outputs(ds, model.schema), model.schema, horizon=0)
    return collate([rows[i] for i in range(len(rows))])


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


def given_frames(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """Select the first frames, as many as the model takes.

    A dataset without a time axis becomes one frame at time 0.
    """
    if schema.dt is None:
        return ds
    if "time" not in ds.dims:
        states = ds[list(schema.outputs)]
        ds = ds.assign(states.expand_dims(time=[0.0]).transpose("sample", ...).data_vars)
    if ds.sizes["time"] < schema.history:
        raise DataError(
            f"The data hold {ds.sizes['time']} frames, but the model takes {schema.history} as its "
            "input. Add the earlier frames."
        )
    return ds.isel(time=slice(0, schema.history))


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
        smallest, largest = float(points[:, a].min()), float(points[:, a].max())
        slack = 1e-6 * (high - low)
        if smallest < low - slack or largest > high + slack:
            raise DataError(
                f"Coordinate {name!r} runs from {smallest:.6g} to {largest:.6g}, but the model was "
                f"trained on [{low:.6g}, {high:.6g}] and would extrapolate. Request points inside, "
                "or shift and scale the coordinate."
            )


def check_finite(ds: xr.Dataset, schema: Schema) -> None:
    """Refuse NaN and infinities in the inputs, which are read chunk by chunk.

    Scattered points are exempt, because samples with fewer points are filled up with NaN.

    Raises:
        DataError: a value is not finite; the message names its place.
    """
    for name in (*schema.inputs, *schema.params):
        place = None if "point" in ds.dims else find_nonfinite(ds[name].variable)
        if place is not None:
            raise DataError(
                f"Variable {name!r} is not finite at {place}. Fill or drop such samples before "
                "predicting."
            )


def _with_outputs(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """Add zeros for absent outputs, so that samples have one form; prediction needs no targets.

    Scattered targets are always replaced, because they may be NaN where another function lives,
    and predictions are made there too.
    """
    scattered = "point" in ds.dims
    absent = [
        name
        for name in schema.outputs
        if name not in ds or (scattered and name not in schema.inputs)
    ]
    like = ds[schema.inputs[0]]
    return ds.assign({name: xr.zeros_like(like, dtype=np.float32) for name in absent})
