"""A model of one time step, applied repeatedly: how models on grids predict evolution problems."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import InputPointOperator
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
        self, *, schema: Schema, normalizer: Normalizer, operator: InputPointOperator
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.step = operator
        self.last = [
            len(schema.inputs) * (schema.history - 1) + schema.inputs.index(name)
            for name in schema.outputs
        ]

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
