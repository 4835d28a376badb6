"""From dataset to dataset: what `Operator.predict` does around the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from fields.core.protocols import Predictor
from fields.core.sample import Sample
from fields.data.symmetry import Symmetry
from fields.inference.answers import mark_missing, to_dataset
from fields.inference.extrapolation import ExtrapolationCheck
from fields.inference.queries import prepare_request
from fields.io.base import DataError


@torch.no_grad()
def predict_dataset(
    model: Predictor,
    ds: xr.Dataset,
    *,
    at: Mapping[str, Any] | None = None,
    times: Sequence[float] | None = None,
    batch_size: int = 16,
    memory: float = 1e9,
    symmetries: Sequence[Mapping[str, Sequence[str]]] = (),
    samples: int | None = None,
    quantiles: Sequence[float] = (0.05, 0.95),
    seed: int = 0,
) -> xr.Dataset:
    """Predict the fields for every sample of a dataset; see `Operator.predict` for the arguments.

    Raises:
        DataError: both ``samples`` and ``symmetries`` are given, or the data do not fit the model.
    """
    if samples is not None and symmetries:
        raise DataError(
            "`samples` and `symmetries` both average predictions and cannot be combined. Give only "
            "one of them."
        )
    request = prepare_request(model, ds, at=at, times=times, batch_size=batch_size)
    was_training = model.training
    model.eval()
    check = ExtrapolationCheck(model, request.shape)
    predictions: dict[str, list[Tensor]] = {}
    for batch in request.batches:
        check.add(batch)
        if samples is None:
            found = {"": average_over_symmetries(model, batch, symmetries, memory)}
        else:
            drawn = torch.stack(list(model.sample(batch, samples, memory=memory, seed=seed)))
            found = mean_and_quantiles(drawn, quantiles)
        check.add_answer(found[""], batch)
        for suffix, values in found.items():
            values = mark_missing(values, batch, model)
            predictions.setdefault(suffix, []).append(values.cpu())
    model.train(was_training)
    out = to_dataset(predictions, request.ds, at, request.times, model.schema)
    return check.mark(out)


def mean_and_quantiles(
    drawn: Float[Tensor, "draws b s m o"], quantiles: Sequence[float]
) -> dict[str, Float[Tensor, "b s m o"]]:
    """Summarize several predictions, by the suffix that the variables get.

    Example:
        >>> drawn = torch.arange(5.0).reshape(5, 1, 1, 1, 1)
        >>> {k: v.item() for k, v in mean_and_quantiles(drawn, (0.25, 0.975)).items()}
        {'': 2.0, '_q25': 1.0, '_q97.5': 3.9000000953674316}
    """
    found = {"": drawn.mean(0)}
    for q in quantiles:
        found[f"_q{100 * q:04.1f}".replace(".0", "")] = drawn.quantile(q, dim=0)
    return found


def average_over_symmetries(
    model: Predictor,
    batch: Sample,
    symmetries: Sequence[Mapping[str, Sequence[str]]],
    memory: float,
) -> Float[Tensor, "b s m o"]:
    """Average the predictions over all elements of a finite symmetry group.

    Each element moves the points and evaluates the model there, so nothing is interpolated. Shifts
    are left out: their group is continuous.
    """
    symmetry = Symmetry(model.schema, [g for g in symmetries if "shift" not in g])
    total = torch.zeros(())
    count = 0
    for chosen in itertools.product((False, True), repeat=len(symmetry.generators)):
        moved, sign = symmetry.element(batch, chosen)
        total = total + sign * model.evaluate(moved, memory)
        count += 1
    return total / count
