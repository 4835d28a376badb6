"""A model of one step, repeated: how grid models are used in time."""

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
    r"""û_{n+1} = û_n + σ G(û_{n−q+1}, …, û_n): every frame is predicted from the frames before it, which were predicted too.

    G answers at the points of its input, normalized; σ is each variable's standard deviation, so
    that G learns a difference. Trained through all steps of the window.

    Args:
        schema, normalizer: the problem.
        operator: G.

    Raises:
        ValueError: a time is no whole number of frames, or queries are not the points of the input.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, operator: InputPointOperator):
        super().__init__(schema=schema, normalizer=normalizer)
        self.step = operator
        self.last = [
            len(schema.inputs) * (schema.history - 1) + schema.inputs.index(name)
            for name in schema.outputs
        ]

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the points of the input."""
        if batch.y.shape != batch.x.shape or not torch.equal(batch.y, batch.x):
            raise ValueError(
                f"A stepwise {type(self.step).__name__} answers at the points of its input alone. Ask for those."
            )
        wanted, now, out = self._frames(batch.t[0]), 0, []
        while now < wanted[-1]:
            v = batch.u[..., self.last] + self.normalizer.outputs_std * self.step.forward_at_input(
                batch
            )
            batch, now = batch._replace(u=advance_input(batch.u, v[:, None], self.schema)), now + 1
            out += [v] * wanted.count(now)
        return torch.stack(out, dim=1)

    def _frames(self, t: Float[Tensor, "s"]) -> list[int]:
        assert self.schema.dt is not None
        frames = t.double() / self.schema.dt
        if (frames - frames.round()).abs().max() > 1e-3 or frames.min() < 0.5:
            raise ValueError(
                f"A stepwise model knows times of whole frames ({self.schema.dt:g}) alone, asked for {t.tolist()}."
            )
        return [int(frame) for frame in frames.round()]
