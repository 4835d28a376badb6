"""From a model's predictions back to a dataset: names, coordinates, units and axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.protocols import Predictor
from fields.core.sample import Sample, Schema
from fields.data.schema import space_dims
from fields.inference.targets import target_coords


def to_dataset(
    predictions: Mapping[str, list[Tensor]],
    ds: xr.Dataset,
    at: Mapping[str, Any] | None,
    times: Float[Tensor, "s"],
    schema: Schema,
) -> xr.Dataset:
    """Give predictions their names, coordinates and units.

    Args:
        predictions: tensors (b s m o) per batch, by the suffix that their variables' names get.
        ds: the input frames; the times of the prediction continue theirs.
        at: the requested points, None for those of ``ds``.
        times: requested times from the last given frame.
        schema: names and units.
    """
    out, space = empty_dataset(ds, at, times, schema)
    for suffix, batches in predictions.items():
        values = np.concatenate([to_grid_shape(batch, space) for batch in batches])
        values = values[:, 0] if schema.dt is None else values
        for o, name in enumerate(schema.outputs):
            dims = output_dims(schema, space)
            out[f"{name}{suffix}"] = (dims, values[..., o], output_attributes(name, schema))
    return out


def empty_dataset(
    ds: xr.Dataset, at: Mapping[str, Any] | None, times: Float[Tensor, "s"], schema: Schema
) -> tuple[xr.Dataset, dict[str, int]]:
    """Make the coordinates of a prediction, and the sizes of its axes in space."""
    target = ds if at is None else target_coords(at, schema)
    coords = {name: target[name] for name in schema.coords}
    if "sample" in ds.coords:
        coords["sample"] = ds["sample"]
    out = xr.Dataset(coords=coords)
    if schema.dt is not None:
        last = float(ds["time"][-1])
        values = last + times.double().numpy()
        kept = {k: v for k, v in ds["time"].attrs.items() if k == "reference"}
        out = out.assign_coords(time=("time", values, _units("time", schema) | kept))
    return out, {dim: target.sizes[dim] for dim in space_dims(target, schema)}


def to_grid_shape(
    prediction: Float[Tensor, "b s m o"], space: Mapping[str, int]
) -> Float[np.ndarray, "b s *axes o"]:
    """Unfold the points into the axes of space; scattered points are padded with NaN.

    Example:
        >>> import torch
        >>> to_grid_shape(torch.zeros(2, 1, 12, 1), {"x": 3, "y": 4}).shape
        (2, 1, 3, 4, 1)
        >>> to_grid_shape(torch.zeros(2, 1, 12, 1), {"point": 15}).shape
        (2, 1, 15, 1)
    """
    missing = max(space.get("point", prediction.shape[2]) - prediction.shape[2], 0)
    padding = ((0, 0), (0, 0), (0, missing), (0, 0))
    values = np.pad(prediction.cpu().numpy(), padding, constant_values=np.nan)
    return values.reshape(*values.shape[:2], *space.values(), values.shape[-1])


def mark_missing(
    values: Float[Tensor, "b s m o"], batch: Sample, model: Predictor
) -> Float[Tensor, "b s m o"]:
    """NaN at queries that are masked, and where the training data never had a value.

    Args:
        values: predictions at the queries of the batch.
        batch: with the queries in physical units.
        model: whose normalizer knows where values are missing.
    """
    unknown = ~batch.y_mask[:, None, :, None]
    normalizer = getattr(model, "normalizer", None)
    places = getattr(normalizer, "missing", None)
    if normalizer is not None and places is not None:
        points = normalizer.points(batch.y)
        never = torch.stack([places.no_output(each) for each in points])
        unknown = unknown | never[:, None]
    return torch.where(unknown, torch.nan, values) if bool(unknown.any()) else values


def output_dims(schema: Schema, space: Mapping[str, int]) -> tuple[str, ...]:
    """List the dims of a predicted variable.

    Example:
        >>> schema = Schema(
        ...     coords=("x",), inputs=("u",), outputs=("u",), bounds=((0.0, 1.0),), dt=0.1
        ... )
        >>> output_dims(schema, {"x": 64})
        ('sample', 'time', 'x')
    """
    return ("sample", *(("time",) if schema.dt is not None else ()), *space)


def output_attributes(name: str, schema: Schema) -> dict[str, str]:
    """Collect the attributes of a predicted variable: its role, and its unit if it has one."""
    return {"role": "output" if schema.dt is None else "state"} | _units(name, schema)


def _units(name: str, schema: Schema) -> dict[str, str]:
    return {"units": schema.units[name]} if name in schema.units else {}
