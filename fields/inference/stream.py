"""Rollouts of any length, written to a file as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fields.inference.predict import (
    answer_dims,
    attributes_of,
    empty_answer,
    prepare_queries,
    to_grid_shape,
)
from fields.io.writer import open_for_writing
from fields.models.evolution import TOGETHER, EvolutionOperator


@torch.no_grad()
def stream(
    model: EvolutionOperator,
    ds: xr.Dataset,
    path: str | Path,
    *,
    times: Sequence[float] | None = None,
    at: Mapping[str, Any] | None = None,
    frames: int = TOGETHER,
    batch_size: int = 16,
    memory: float = 1e9,
) -> None:
    """``model.predict`` into a file of our layout, for rollouts longer than memory.

    The file takes its name when it is complete; an interruption leaves nothing of it.

    Args:
        model: of an evolution problem.
        ds, times, at, batch_size, memory: see `Operator.predict`.
        path: the file to write.
        frames: how many are held and written at a time.
    """
    ds, asked, batches = prepare_queries(model, ds, at=at, times=times, batch_size=batch_size)
    out, space = empty_answer(ds, at, asked, model.schema)
    nothing = np.broadcast_to(np.float32(0), (ds.sizes["sample"], len(asked), *space.values()))
    for name in model.schema.outputs:
        out[name] = (answer_dims(model.schema, space), nothing, attributes_of(name, model.schema))
    was_training = model.training
    model.eval()
    with open_for_writing(out, path) as write:
        done = 0
        for batch in batches:
            first, samples = 0, slice(done, done + len(batch.u))
            for piece in model.rollout(batch, frames=frames, memory=memory):
                values, times_now = (
                    to_grid_shape(piece, space),
                    slice(first, first + piece.shape[1]),
                )
                for o, name in enumerate(model.schema.outputs):
                    write(name, samples, times_now, values[..., o])
                first = times_now.stop
            done = samples.stop
    model.train(was_training)
