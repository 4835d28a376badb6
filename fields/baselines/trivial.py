"""Predictors that know nothing of the operator; whatever is published has to beat them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import InputPointOperator, SensorOperator
from fields.baselines.pca_net import stack_samples
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.models.base import Operator


class MeanField(SensorOperator):
    """The mean of the training outputs, whatever the input.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
    """

    mean: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int):
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        self.register_buffer("mean", torch.zeros(count, schema.out_channels))

    @classmethod
    def fit(cls, data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer) -> MeanField:
        """The model of its training data."""
        every = stack_samples(data, "MeanField")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1])
        order = model.sensors.expect(normalizer.points(every.x), "MeanField")
        targets = normalizer.normalized(every.v[:, 0, order], every.params)
        model.mean.copy_(targets.double().mean(0))
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries, in physical units."""
        return self.decode_sensors(self.mean.expand(len(batch.u), -1, -1), batch)


class MeanValue(Operator):
    """The mean training value of each channel, at every point and time: for samples that share no points."""

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries, in physical units."""
        shape = (len(batch.u), batch.t.shape[-1], batch.y.shape[1], self.schema.out_channels)
        return self.normalizer.physical(batch.u.new_zeros(shape), batch.params)


class Persistence(InputPointOperator):
    """Nothing changes: the last frame of the input is the answer.

    Raises:
        ValueError: an output is not among the inputs.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer):
        super().__init__(schema=schema, normalizer=normalizer)
        missing = [name for name in schema.outputs if name not in schema.inputs]
        if missing:
            raise ValueError(
                f"Persistence needs the outputs among the inputs {schema.inputs}, got {missing}. Use `MeanField`."
            )
        last = len(schema.inputs) * (schema.history - 1)
        self.columns = [last + schema.inputs.index(name) for name in schema.outputs]

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """The same at all times."""
        return super().forward(batch).expand(-1, batch.t.shape[1], -1, -1)

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """See `InputPointOperator`."""
        return self.normalizer.normalized(batch.u[..., self.columns], batch.params)
