"""Errors of models on whole test trajectories, step by step and far past the training horizon."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from rich.markup import escape
from rich.progress import track
from torch import Tensor
from torchmetrics import Metric

from fields.core.distributed import all_gather, rank_and_size
from fields.core.sample import Sample, Schema
from fields.evaluation.metric_set import MetricSet, default_metrics
from fields.evaluation.scoring import infinite_if_not_finite
from fields.metrics.base import to_grid
from fields.metrics.losses import output_relative_l2
from fields.models.base import Operator

# Of the field's root mean square: the rounding error of single precision in a sum that is zero.
ZERO_TOLERANCE = 1e-6

# States (… o *grid), then each input that is not a state (… *grid) -> one value each (…).
Quantity = Callable[..., Tensor]


@dataclass(frozen=True)
class Rollouts:
    """Errors of one model on n test trajectories at s predicted times.

    Args:
        model: its name.
        parameters: number of the model's parameters.
        times: of the predicted steps; the given frames are not among them.
        error: of each trajectory at each step, the mean over outputs of ‖v̂ − v‖/‖v‖, each norm
            over points. It does not depend on the units of the outputs and is infinite where a
            prediction is not finite.
        metrics: by name, one number () or one per step (s).
        quantities: per invariant or Lyapunov function Q, Q(v̂)/Q₀ and Q(v)/Q₀ of each trajectory at
            each step. Q₀ is the root mean square of the truth's first values, or that of the field
            itself where these vanish (a circulation that is zero).
        seconds: wall time of all rollouts.
        outputs: the errors ‖v̂ − v‖/‖v‖ of every output by name, over points.

    Example:
        >>> rollouts = Rollouts("model", 0, np.arange(3), np.full((5, 3), 0.1), {}, {}, 0.0)
        >>> rollouts.at(step=3).shape
        (5,)
    """

    model: str
    parameters: int
    times: Float[np.ndarray, "s"]
    error: Float[np.ndarray, "n s"]
    metrics: dict[str, Float[np.ndarray, "..."]]
    quantities: dict[str, tuple[Float[np.ndarray, "n s"], Float[np.ndarray, "n s"]]]
    seconds: float
    outputs: dict[str, Float[np.ndarray, "n s"]] = field(default_factory=dict)

    def at(self, step: int) -> Float[np.ndarray, "n"]:
        """Error of every trajectory at one step, counted from 1."""
        return self.error[:, step - 1]

    def not_finite(self, step: int) -> int:
        """Number of trajectories whose prediction is not finite at one step, counted from 1."""
        return int(np.isinf(self.at(step)).sum())

    def drift(self, name: str) -> Float[np.ndarray, "s"]:
        """mean_n |Q(v̂(t)) − Q(v(t))| / Q₀, the error of a quantity at each step."""
        predicted, true = self.quantities[name]
        return np.abs(predicted - true).mean(0)


@torch.no_grad()
def measure_rollouts(
    name: str,
    model: Operator,
    batches: list[Sample],
    *,
    metrics: Mapping[str, Metric] | None = None,
    quantities: Mapping[str, Quantity] | None = None,
    memory: float = 1e9,
    quiet: bool = False,
) -> Rollouts:
    """Roll a model out over batches of whole trajectories and measure its errors.

    Each of several processes is given a part of the trajectories and returns the errors of all.

    Args:
        name: of the model, for tables and pictures.
        model: of an evolution problem.
        batches: each with the given frames and all that follow.
        metrics: by name, in addition to `default_metrics`.
        quantities: invariants and Lyapunov functions of the problem by name, on grids only.
        memory: bytes that one pass may take.
        quiet: no progress bar.
    """
    model.eval()
    times = batches[0].t[0].double()
    schema = model.schema
    measured = MetricSet(default_metrics(schema, times.tolist()) | dict(metrics or {}))
    if schema.grid is None or int(np.prod(schema.grid)) != batches[0].y.shape[1]:
        quantities = None
    history: dict[str, tuple[list[Tensor], list[Tensor]]] = {
        key: ([], []) for key in quantities or {}
    }
    errors = []
    start = time.perf_counter()
    for batch in track(
        batches,
        escape(f"rolling out {name}"),
        transient=True,
        disable=quiet or rank_and_size()[0] > 0,
    ):
        v_hat = model.evaluate(batch, memory).double()
        v = batch.v.double()
        errors.append(infinite_if_not_finite(output_relative_l2(v_hat, v, batch.y_mask)))
        measured.update(v_hat, v, batch.y_mask)
        for key, quantity in (quantities or {}).items():
            predicted, true = history[key]
            predicted.append(_evaluate_quantity(quantity, v_hat, batch, schema))
            true.append(_evaluate_quantity(quantity, v, batch, schema))
    size = _initial_root_mean_square(batches)
    per_output = all_gather(torch.cat(errors)).numpy()
    return Rollouts(
        model=name,
        parameters=sum(p.numel() for p in model.parameters()),
        times=times.numpy(),
        error=per_output.mean(-1),
        metrics=measured.compute(),
        quantities={key: _relative(*values, size=size) for key, values in history.items()},
        seconds=time.perf_counter() - start,
        outputs={name: per_output[..., o] for o, name in enumerate(schema.outputs)},
    )


def report_steps(trained: int, steps: int) -> list[int]:
    """1, 2, 4, 10, 40 and 100 times the training horizon, as far as the trajectories go.

    A trajectory that is shorter by at most 1 % counts as long enough; its last step is used.

    Args:
        trained: steps of a training window.
        steps: steps of the test trajectories.

    Example:
        >>> report_steps(10, 399)
        [10, 20, 40, 100, 399]
    """
    chosen = [
        min(trained * factor, steps)
        for factor in (1, 2, 4, 10, 40, 100)
        if 0.99 * trained * factor <= steps
    ]
    return chosen or [steps]


def _evaluate_quantity(
    quantity: Quantity, v: Float[Tensor, "b s m o"], batch: Sample, schema: Schema
) -> Float[Tensor, "b s"]:
    """The quantity of every state, given the input fields that are not states."""
    assert schema.grid is not None, "quantities are evaluated on grids"
    latest = len(schema.inputs) * (schema.history - 1)
    columns = [latest + c for c, name in enumerate(schema.inputs) if name not in schema.outputs]
    medium = to_grid(batch.u[:, None, :, columns].double(), batch.x_mask, schema.grid)
    states = to_grid(v, batch.y_mask, schema.grid).movedim(-1, 2)
    return quantity(states, *medium.unbind(-1))


def _initial_root_mean_square(batches: list[Sample]) -> float:
    """Root mean square of the first target frames."""
    squares = [batch.v[:, :1].double().square().flatten() for batch in batches]
    return float(torch.cat(squares).nanmean().sqrt())


def _relative(
    predicted: list[Tensor], true: list[Tensor], *, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both divided by the root mean square of the first true values, or by `size` if it is 0."""
    prediction = all_gather(torch.cat(predicted))
    truth = all_gather(torch.cat(true))
    scale = truth[:, 0].square().mean().sqrt()
    scale = scale if scale > ZERO_TOLERANCE * size else torch.as_tensor(size)
    return (prediction / scale).numpy(), (truth / scale).numpy()
