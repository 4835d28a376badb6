"""Rollouts of any length, written to a file a few frames at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fields.core.protocols import RolloutPredictor
from fields.inference.answers import (
    empty_dataset,
    mark_missing,
    output_attributes,
    output_dims,
    to_grid_shape,
)
from fields.inference.extrapolation import ExtrapolationCheck
from fields.inference.queries import prepare_request
from fields.io.writer import open_for_writing


@torch.no_grad()
def stream(
    model: RolloutPredictor,
    ds: xr.Dataset,
    path: str | Path,
    *,
    times: Sequence[float] | None = None,
    at: Mapping[str, Any] | None = None,
    frames: int = 64,
    batch_size: int = 16,
    memory: float = 1e9,
) -> None:
    """Write what ``model.predict`` returns into a file, for rollouts longer than memory.

    The file gets its name when it is complete; an interrupted run leaves no file.

    Args:
        model: a model of an evolution problem.
        ds: the schema's inputs and coordinates, as for `Operator.predict`.
        path: the file to write, in the native layout.
        times: requested times, as for `Operator.predict`.
        at: requested points, as for `Operator.predict`.
        frames: number of frames held in memory and written at a time.
        batch_size: number of samples evaluated at a time.
        memory: bytes that decoding may take.

    Raises:
        DataError: the data do not fit the model.
    """
    schema = model.schema
    request = prepare_request(model, ds, at=at, times=times, batch_size=batch_size)
    ds, requested, batches, _ = request
    check = ExtrapolationCheck(model, request.shape)
    out, space = empty_dataset(ds, at, requested, schema)
    shape = (ds.sizes["sample"], len(requested), *space.values())
    placeholder = np.broadcast_to(np.float32(0), shape)
    for name in schema.outputs:
        out[name] = (output_dims(schema, space), placeholder, output_attributes(name, schema))
    was_training = model.training
    model.eval()
    with open_for_writing(out, path) as write:
        first_sample = 0
        for batch in batches:
            check.add(batch)
            samples = slice(first_sample, first_sample + len(batch.u))
            first_time = 0
            for chunk in model.rollout(batch, frames=frames, memory=memory):
                values = to_grid_shape(mark_missing(chunk, batch, model), space)
                window = slice(first_time, first_time + chunk.shape[1])
                for o, name in enumerate(schema.outputs):
                    write(name, samples, window, values[..., o])
                first_time = window.stop
            first_sample = samples.stop
    model.train(was_training)
    check.warn(stacklevel=4)
