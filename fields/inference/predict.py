"""From dataset to dataset: what ``Operator.predict`` does around the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Sample, Schema, collate
from fields.data.chunks import find_nonfinite
from fields.data.dataset import FieldDataset
from fields.data.schema import points_of, require, space_dims
from fields.data.symmetry import Symmetry
from fields.io.base import DataError
from fields.models.base import Draws, Operator, to_device
from fields.models.ensemble import draw_samples as drawn


def predict(
    model: Operator,
    ds: xr.Dataset,
    *,
    at: Mapping[str, Any] | None,
    times: Sequence[float] | None = None,
    batch_size: int,
    memory: float,
    symmetries: Sequence[Mapping[str, Sequence[str]]],
    draws: Draws | None = None,
) -> xr.Dataset:
    """See :meth:`fields.models.base.Operator.predict`."""
    if draws is not None and symmetries:
        raise DataError("`samples` and `symmetries` both average predictions. Ask for one of them.")
    ds, asked, batches = prepare_queries(model, ds, at=at, times=times, batch_size=batch_size)
    was_training = model.training
    model.eval()
    answers: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for batch in batches:
            found = (
                {"": average_over_symmetries(model, batch, symmetries, memory)}
                if draws is None
                else mean_and_quantiles(model, batch, draws, memory)
            )
            for suffix, values in found.items():
                answers.setdefault(suffix, []).append(values.cpu())
    model.train(was_training)
    return to_dataset(answers, ds, at, asked, model.schema)


def prepare_queries(
    model: Operator,
    ds: xr.Dataset,
    *,
    at: Mapping[str, Any] | None,
    times: Sequence[float] | None,
    batch_size: int,
) -> tuple[xr.Dataset, Tensor, Iterator[Sample]]:
    """What is given, the times that are asked for, and the batches that ask for them; refuses what cannot be answered."""
    schema = model.schema
    require(ds, _inputs_only(schema))
    ds = ds if "sample" in ds.dims else ds.expand_dims("sample")
    asked = target_times(ds, times, schema)
    ds = given_frames(ds, schema)
    queries = None if at is None else target_points(at, schema)
    rows = FieldDataset(_with_outputs(ds, schema), schema, horizon=0)
    check_finite(ds, schema)
    for points in (rows.shared_points,) if queries is None else (rows.shared_points, queries):
        check_inside(points, schema)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def batches() -> Iterator[Sample]:
        for start in range(0, len(rows), batch_size):
            batch = collate([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
            if queries is not None:
                batch = batch._replace(
                    y=queries[None], y_mask=torch.ones(1, len(queries), dtype=torch.bool)
                )
            yield to_device(batch._replace(t=asked.expand(len(batch.u), -1)), device)

    return ds, asked, batches()


def mean_and_quantiles(
    model: Operator, batch: Sample, draws: Draws, memory: float
) -> dict[str, Tensor]:
    """Mean and quantiles of several answers, by the suffix that their variables get."""
    answers = torch.stack(list(drawn(model, batch, draws.samples, memory=memory, seed=draws.seed)))
    found = {"": answers.mean(0)}
    for q in draws.quantiles:
        found[f"_q{100 * q:04.1f}".replace(".0", "")] = answers.quantile(q, dim=0)
    return found


def first_samples(model: Operator, ds: xr.Dataset, *, samples: int) -> Sample:
    """What a model is given of the first test samples (validation or any, if no others are recorded)."""
    if "split" in ds.coords:  # numbered in the order of SPLITS: the test split is the last
        ds = ds.isel(
            sample=np.flatnonzero(np.asarray(ds["split"]) == np.asarray(ds["split"]).max())
        )
    require(ds, _inputs_only(model.schema))
    ds = given_frames(ds.isel(sample=slice(0, samples)), model.schema)
    rows = FieldDataset(_with_outputs(ds, model.schema), model.schema, horizon=0)
    return collate([rows[i] for i in range(len(rows))])


def average_over_symmetries(
    model: Operator, batch: Sample, symmetries: Sequence[Mapping[str, Sequence[str]]], memory: float
) -> Tensor:
    """Mean of the predictions over all elements of the group, each made by moving the points."""
    symmetry = Symmetry(model.schema, [g for g in symmetries if "shift" not in g])
    total, count = torch.zeros(()), 0
    for chosen in itertools.product((False, True), repeat=len(symmetry.generators)):
        moved, sign = symmetry.element(batch, chosen)
        total = total + sign * model.evaluate(moved, memory)
        count += 1
    return total / count


def target_times(ds: xr.Dataset, times: Sequence[float] | None, schema: Schema) -> Tensor:
    """(s) physical times, in double precision, from the last given frame; a single 0 for static maps."""
    if schema.dt is None:
        if times is not None:
            raise DataError(
                "`times` are given, but the model is a map without time. Leave them out."
            )
        return torch.zeros(1)
    if times is None and ds.sizes.get("time", 1) > schema.history:
        stored = np.asarray(ds["time"], dtype=np.float64)
        times = stored[schema.history :] - stored[schema.history - 1]
    asked = torch.as_tensor([schema.dt] if times is None else np.asarray(times, dtype=np.float64))
    if (
        asked.ndim != 1
        or not len(asked)
        or bool((asked.diff(prepend=torch.zeros(1, dtype=asked.dtype)) < 0).any())
    ):
        raise DataError(
            f"`times` are {asked.tolist()}: they count from the last given frame, ascend and are not negative."
        )
    return (
        asked.double()
    )  # in single precision the times of a long rollout would no longer be whole frames


def given_frames(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """The first frames, as many as the model is given; a dataset without a time axis is one frame."""
    if schema.dt is None:
        return ds
    if "time" not in ds.dims:
        ds = ds.assign(
            {
                name: ds[name].expand_dims(time=[0.0]).transpose("sample", ...)
                for name in schema.outputs
            }
        )
    if ds.sizes["time"] < schema.history:
        raise DataError(
            f"The data hold {ds.sizes['time']} frames, the model is given {schema.history}. Add the earlier ones."
        )
    return ds.isel(time=slice(0, schema.history))


def target_points(at: Mapping[str, Any], schema: Schema) -> Tensor:
    """(m d) points of a grid given by its axes, or of scattered points given as DataArrays over one dim."""
    missing = [name for name in schema.coords if name not in at]
    if missing or len(at) != schema.dim:
        raise DataError(
            f"`at` gives {sorted(at)}, the model needs exactly the coordinates {list(schema.coords)}."
        )
    return points_of(_target(at, schema), schema)


def regular_grid(sizes: str, schema: Schema) -> dict[str, np.ndarray]:
    """``256x256`` -> axes over the domain: left edges on periodic axes, end points included on others."""
    try:
        counts = [int(word) for word in sizes.lower().split("x")]
    except ValueError:
        counts = []
    if len(counts) != schema.dim or min(counts) < 2:
        raise DataError(
            f"--at {sizes!r} should give one size per axis {schema.coords}, such as {'x'.join(['256'] * schema.dim)}."
        )
    return {
        name: np.linspace(low, high, count, endpoint=not periodic)
        for name, (low, high), count, periodic in zip(
            schema.coords, schema.bounds, counts, schema.periodic, strict=True
        )
    }


def check_inside(points: Tensor | None, schema: Schema) -> None:
    """Refuses points outside the trained domain; periodic axes have no outside."""
    for a, name in enumerate(schema.coords):
        if points is None or schema.periodic[a]:
            continue
        (low, high), values = schema.bounds[a], points[:, a]
        slack = 1e-6 * (high - low)
        if float(values.min()) < low - slack or float(values.max()) > high + slack:
            raise DataError(
                f"Coordinate {name!r} runs from {float(values.min()):.6g} to {float(values.max()):.6g}, the model was trained on "
                f"[{low:.6g}, {high:.6g}] and would extrapolate. Ask for points inside, or shift and scale the coordinate."
            )


def check_finite(ds: xr.Dataset, schema: Schema) -> None:
    """Refuses NaN and infinities in the inputs, naming a place; reads them piece by piece."""
    for name in (*schema.inputs, *schema.params):
        place = None if "point" in ds.dims else find_nonfinite(ds[name].variable)
        if place is not None:
            raise DataError(
                f"Variable {name!r} is not finite at {place}. Fill or drop such samples before predicting."
            )


def to_dataset(
    answers: Mapping[str, list[Tensor]],
    ds: xr.Dataset,
    at: Mapping[str, Any] | None,
    times: Tensor,
    schema: Schema,
) -> xr.Dataset:
    """Names, coordinates and units around the numbers; times continue those of the data."""
    out, space = empty_answer(ds, at, times, schema)
    for suffix, parts in answers.items():
        values = np.concatenate([to_grid_shape(part, space) for part in parts])
        for o, name in enumerate(schema.outputs):
            field = values[..., o] if schema.dt is not None else values[:, 0, ..., o]
            out[f"{name}{suffix}"] = (
                answer_dims(schema, space),
                field,
                attributes_of(name, schema),
            )
    return out


def empty_answer(
    ds: xr.Dataset, at: Mapping[str, Any] | None, times: Tensor, schema: Schema
) -> tuple[xr.Dataset, dict[str, int]]:
    """The coordinates of an answer without its fields, and the sizes of the axes in space that these run along."""
    target = ds if at is None else _target(at, schema)
    coords = {name: target[name] for name in schema.coords}
    out = xr.Dataset(
        coords={**coords, **({"sample": ds["sample"]} if "sample" in ds.coords else {})}
    )
    if schema.dt is not None:
        last = float(ds["time"][-1])
        out = out.assign_coords(
            time=("time", last + times.double().numpy(), _units("time", schema))
        )
    return out, {dim: target.sizes[dim] for dim in space_dims(target, schema)}


def to_grid_shape(
    answer: Float[Tensor, "b s m o"], space: Mapping[str, int]
) -> Float[np.ndarray, "b s *axes o"]:
    """Points as the axes in space; scattered ones are filled up with NaN to the longest sample."""
    missing = space.get("point", answer.shape[2]) - answer.shape[2]
    values = np.pad(
        answer.cpu().numpy(), ((0, 0), (0, 0), (0, max(missing, 0)), (0, 0)), constant_values=np.nan
    )
    return values.reshape(*values.shape[:2], *space.values(), values.shape[-1])


def answer_dims(schema: Schema, space: Mapping[str, int]) -> tuple[str, ...]:
    """The dims of an answer's fields."""
    return ("sample", *(("time",) if schema.dt is not None else ()), *space)


def attributes_of(name: str, schema: Schema) -> dict[str, str]:
    """Role and unit of an answer's field."""
    return {"role": "output" if schema.dt is None else "state"} | _units(name, schema)


def _units(name: str, schema: Schema) -> dict[str, str]:
    return {"units": schema.units[name]} if name in schema.units else {}


def _target(at: Mapping[str, Any], schema: Schema) -> xr.Dataset:
    if all(
        isinstance(values, xr.DataArray)
        and values.ndim == 1
        and values.dims[0] not in schema.coords
        for values in at.values()
    ):
        dim = next(iter(at.values())).dims[0]
        return xr.Dataset(
            coords={
                name: ("point", np.asarray(at[name].rename({dim: "point"})))
                for name in schema.coords
            }
        )
    return xr.Dataset(
        coords={name: (name, np.asarray(at[name], dtype=np.float64)) for name in schema.coords}
    )


def _inputs_only(schema: Schema) -> Schema:
    return Schema(**{**schema.__dict__, "outputs": ()})


def _with_outputs(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """Outputs are not needed to predict; where absent, zeros stand in so that samples have one form."""
    scattered = (
        "point" in ds.dims
    )  # targets may be NaN where another function lives; predictions are made there too
    absent = [
        name
        for name in schema.outputs
        if name not in ds or (scattered and name not in schema.inputs)
    ]
    return ds.assign(
        {name: xr.zeros_like(ds[schema.inputs[0]], dtype=np.float32) for name in absent}
    )
