"""A model of one time step, applied repeatedly: how models on grids predict evolution problems."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import InputPointOperator
from fields.baselines.linear_regression import LinearRegression
from fields.baselines.pca_net import stack_samples
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.models.base import Operator
from fields.models.evolution import advance_input


class Stepwise(Operator):
    r"""û_{n+1} = û_n + σ G(û_{n−q+1}, …, û_n), applied to its own predictions.

    G predicts normalized outputs at the points of its input, and σ is the standard deviation of
    each variable, so that G learns a difference. The gradient of a training goes through all steps
    of the window.

    Args:
        schema, normalizer: the problem.
        operator: G.

    Raises:
        ValueError: a time is not a multiple of the time between frames, or the queries are not the
            points of the input.

    Example:
        >>> from fields.baselines.trivial import Persistence
        >>> schema = Schema(("x",), ("u",), ("u",), bounds=((0.0, 1.0),), dt=0.5)
        >>> problem = {"schema": schema, "normalizer": Normalizer(schema, {"u": (0, 1)})}
        >>> model = Stepwise(operator=Persistence(**problem), **problem)  # doubles u at each step
        >>> x, mask = torch.rand(1, 4, 1), torch.ones(1, 4) > 0
        >>> batch = Sample(x, torch.ones(2, 4, 1), mask, x, torch.zeros(2, 3, 4, 1), mask,
        ...                torch.tensor([[0.5, 1.0, 1.5]] * 2), torch.zeros(2, 0))
        >>> model(batch)[0, :, 0, 0]
        tensor([2., 4., 8.])
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        operator: InputPointOperator | LinearRegression,
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.step = operator
        self.last = _latest_columns(schema)

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the points of the input, in physical units."""
        if batch.y.shape != batch.x.shape or not torch.equal(batch.y, batch.x):
            raise ValueError(
                f"A stepwise {type(self.step).__name__} predicts only at the points of its input, "
                "got other queries. Predict without `at`, and interpolate the result."
            )
        wanted = self._frames(batch.t[0])
        out: list[Tensor] = []
        for frame in range(1, wanted[-1] + 1):
            change = self.normalizer.outputs_std * self.step.forward_at_input(batch)
            v = batch.u[..., self.last] + change
            batch = batch._replace(u=advance_input(batch.u, v[:, None], self.schema))
            out += [v] * wanted.count(frame)
        return torch.stack(out, dim=1)

    def _frames(self, t: Float[Tensor, "s"]) -> list[int]:
        """The times as numbers of frames."""
        assert self.schema.dt is not None, "evolution problems have a time between frames"
        frames = t.double() / self.schema.dt
        if (frames - frames.round()).abs().max() > 1e-3 or frames.min() < 0.5:
            raise ValueError(
                f"A stepwise model predicts at multiples of {self.schema.dt:g}, the time between "
                f"its frames, got {t.tolist()}. Use such times, or a model with the propagator "
                "`LatentFlow`."
            )
        return [int(frame) for frame in frames.round()]


def fit_linear_step(data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer) -> Stepwise:
    """Linear regression of one step, applied to its own predictions.

        û_{n+1} = û_n + σ (b + W (û_n − ū))

    A linear PDE with constant coefficients is learned almost exactly on its training points.

    Args:
        data: training windows of an evolution problem, on points that all samples share; the
            first target frame of each is used.
        schema, normalizer: the problem.

    Example:
        >>> schema = Schema(("x",), ("u",), ("u",), bounds=((0.0, 1.0),), dt=0.5)
        >>> problem = {"schema": schema, "normalizer": Normalizer(schema, {"u": (0, 1)})}
        >>> x, mask = torch.linspace(0, 1, 4)[:, None], torch.ones(4) > 0
        >>> data = [Sample(x, u, mask, x, 0.5 * u[None], mask, torch.ones(1) / 2, torch.zeros(0))
        ...         for u in torch.rand(9, 4, 1)]
        >>> batch = stack_samples(data, "")._replace(t=torch.tensor([[0.5, 1.0]] * 9))
        >>> v = fit_linear_step(data, **problem)(batch)
        >>> bool((v[:, 1] - batch.u / 4).abs().max() < 1e-4)  # halved at each of two steps
        True
    """
    every = stack_samples(data, "LinearRegression")
    step = LinearRegression(
        schema=schema, normalizer=normalizer, count=every.x.shape[1], samples=len(data)
    )
    change = every.v[:, 0] - every.u[..., _latest_columns(schema)]
    step.solve(every, change / normalizer.outputs_std)
    return Stepwise(schema=schema, normalizer=normalizer, operator=step)


def _latest_columns(schema: Schema) -> list[int]:
    """The input channels with the latest frame of every output."""
    latest = len(schema.inputs) * (schema.history - 1)
    return [latest + schema.inputs.index(name) for name in schema.outputs]
