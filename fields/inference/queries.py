"""From a dataset to batches for a model: the given frames, checked, at the requested targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.protocols import Predictor
from fields.core.sample import Sample, Schema, collate, to_device
from fields.data.chunks import find_nonfinite
from fields.data.dataset import FieldDataset
from fields.data.novelty import grid_shape
from fields.data.schema import points_of, require
from fields.data.times import with_numeric_times
from fields.inference.domain import check_domain
from fields.inference.mesh import inside_meshes
from fields.inference.targets import target_points, target_times
from fields.inference.units import to_units_of
from fields.io.base import DataError
from fields.io.complex_parts import split_complex


class PredictionRequest(NamedTuple):
    """The input frames, the requested times, and the batches that ask a model for them.

    Example:
        >>> PredictionRequest._fields
        ('ds', 'times', 'batches', 'shape')
    """

    ds: xr.Dataset  # the input frames
    times: Float[Tensor, "s"]  # requested times from the last given frame, double precision
    batches: Iterator[Sample]  # on the model's device
    shape: tuple[int, ...] | None  # points along each axis of the input's grid


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
    _check_precision(model)
    ds = with_numeric_times(as_dataset(ds, schema), schema.units.get("time"))
    if not any(name in ds and ds[name].dtype.kind == "c" for name in schema.inputs):
        ds = split_complex(ds)
    require(ds, schema, targets=False)
    ds = to_units_of(ds, schema)
    ds = ds if "sample" in ds.dims else ds.expand_dims("sample")
    requested = target_times(ds, times, schema)
    ds = given_frames(ds, schema)
    if not ds.sizes["sample"]:
        raise DataError("The data hold no samples (the dim `sample` has length 0). Give one.")
    points = None if at is None else target_points(at, schema)
    check_domain(ds, schema)
    check_finite(ds, model)
    rows = FieldDataset(_with_outputs(ds, schema), schema, horizon=0)
    trained_on_such = model.training_range is not None and model.training_range.uneven
    if rows.shared_points is not None and not trained_on_such:
        _check_readable(model, rows.shared_points)
    inside = None if points is None else inside_meshes(points.numpy(), ds, schema)
    batches = _batches(model, rows, points, inside, requested, batch_size)
    return PredictionRequest(ds, requested, batches, grid_shape(rows))


def as_dataset(given: xr.Dataset | xr.DataArray, schema: Schema) -> xr.Dataset:
    """Make a dataset of one array, and refuse everything else.

    Raises:
        DataError: not an xarray object, or an array whose name does not say which input it is.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> list(as_dataset(xr.DataArray([0.0, 1.0], {"x": [0.0, 0.5]}, "x", name="a"), schema))
        ['a']
    """
    if isinstance(given, xr.Dataset):
        return given
    if isinstance(given, xr.DataArray):
        name = given.name if given.name is not None else schema.inputs[0]
        return given.to_dataset(name=name)
    example = ", ".join(f"{name!r}: (dims, values)" for name in schema.inputs)
    raise DataError(
        f"`predict` was given a {type(given).__name__}, but it needs the names and coordinates of "
        f"an xarray.Dataset: xr.Dataset({{{example}}}, coords={{...}}) with {list(schema.coords)}."
    )


def _check_precision(model: Predictor) -> None:
    """Refuse weights in half precision, in which coordinates and statistics lose their digits."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    if dtype in (torch.float16, torch.bfloat16):
        raise DataError(
            f"The weights of the model are {str(dtype).removeprefix('torch.')}, but predictions "
            "are computed in float32 or float64. Call `model.float()` first."
        )


def _check_readable(model: Predictor, points: Float[Tensor, "n d"]) -> None:
    parameter = next(iter(model.parameters()), torch.zeros(()))
    try:
        model.check_points(points.to(parameter.device))
    except ValueError as error:
        raise DataError(str(error)) from error


def _batches(
    model: Predictor,
    rows: FieldDataset,
    points: Tensor | None,
    inside: Bool[np.ndarray, "b m"] | None,
    times: Tensor,
    batch_size: int,
) -> Iterator[Sample]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, len(rows), batch_size):
        batch = collate([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
        if points is not None:
            mask = torch.ones(1, len(points), dtype=torch.bool)
            if inside is not None:  # a query in a hole of the mesh is masked
                mask = torch.from_numpy(inside[start : start + batch_size].copy())
            batch = batch._replace(y=points[None], y_mask=mask)
        yield to_device(batch._replace(t=times.expand(len(batch.u), -1)), device)


def first_samples(model: Predictor, ds: xr.Dataset, *, samples: int) -> Sample:
    """Collate what a model is given of the first test samples.

    Where the dataset records no test split, the validation split is used, or else any samples.
    """
    if "split" in ds.coords:
        split = np.asarray(ds["split"])  # numbered in the order of SPLITS: the test split is last
        ds = ds.isel(sample=np.flatnonzero(split == split.max()))
    require(ds, model.schema, targets=False)
    ds = given_frames(ds.isel(sample=slice(0, samples)), model.schema)
    rows = FieldDataset(_with_outputs(ds, model.schema), model.schema, horizon=0)
    return collate([rows[i] for i in range(len(rows))])


def given_frames(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """Select the first frames, as many as the model takes.

    A dataset without a time axis becomes one frame, at its scalar time if it has one, else at 0.
    """
    if schema.dt is None:
        return ds
    if "time" not in ds.dims:
        states = ds[list(schema.outputs)]
        time = ds["time"].variable if "time" in ds.coords else xr.Variable((), 0.0)
        states = states.drop_vars("time", errors="ignore")
        ds = ds.drop_vars("time", errors="ignore").assign(
            states.expand_dims(time=[float(time)]).transpose("sample", ...).data_vars
        )
        ds["time"].attrs.update(time.attrs)
    if ds.sizes["time"] < schema.history:
        raise DataError(
            f"The data hold {ds.sizes['time']} frames, but the model takes {schema.history} as its "
            "input. Add the earlier frames."
        )
    return ds.isel(time=slice(0, schema.history))


def check_finite(ds: xr.Dataset, model: Predictor) -> None:
    """Refuse infinite inputs, and NaN where the model has not learned with missing values.

    Values are read chunk by chunk. NaN is allowed at scattered points, because samples with fewer
    points are filled up with it, and where the training grid has missing values.

    Raises:
        DataError: a value is not finite; the message names its place.
    """
    schema = model.schema
    for name in (*schema.inputs, *schema.params):
        place = find_nonfinite(ds[name].variable, _may_be_missing(name, ds, model))
        if place is not None:
            raise DataError(
                f"Variable {name!r} is not finite at {place}. Fill or drop such samples before "
                "predicting."
            )


def _may_be_missing(name: str, ds: xr.Dataset, model: Predictor) -> xr.Variable | None:
    """Where NaN is allowed in an input, over the dims of space; None for nowhere."""
    schema = model.schema
    if "point" in ds[name].dims:
        return xr.Variable("point", np.ones(ds.sizes["point"], bool))
    normalizer = getattr(model, "normalizer", None)
    places = getattr(normalizer, "missing", None)
    if normalizer is None or places is None or "point" in ds.dims:
        return None
    if name not in schema.inputs:
        return None
    points = normalizer.points(points_of(ds, schema).to(normalizer.center.device))
    table = places.input_may_be_missing(points)[:, schema.inputs.index(name)]
    sizes = [ds.sizes[dim] for dim in schema.coords]
    return xr.Variable(schema.coords, table.reshape(sizes).cpu().numpy())


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
