"""Trivial predictors, which a useful model has to beat."""

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
    """v(u)(y) = mean_i v_i(y) over the training samples i, for every input.

    Args:
        schema, normalizer: the problem.
        count: number of training points.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> x, mask = torch.linspace(0, 1, 8)[:, None], torch.ones(8) > 0
        >>> data = [Sample(x, a, mask, x, a[None], mask, torch.zeros(1), torch.zeros(0))
        ...         for a in (torch.zeros(8, 1), torch.ones(8, 1))]
        >>> model = MeanField.fit(data, schema=schema, normalizer=normalizer)
        >>> model(stack_samples(data, "")).unique()
        tensor([0.5000])
    """

    mean: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        self.register_buffer("mean", torch.zeros(count, schema.out_channels))

    @classmethod
    def fit(cls, data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer) -> MeanField:
        """Compute the mean from the training data, on points that all samples share."""
        every = stack_samples(data, "MeanField")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1])
        order = model.sensors.expect(normalizer.points(every.x), "MeanField")
        targets = normalizer.normalized(every.v[:, 0, order], every.params)
        model.mean.copy_(targets.double().mean(0))
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        return self.decode_sensors(self.mean.expand(len(batch.u), -1, -1), batch)


class MeanValue(Operator):
    """v_o = mean over training samples and points of channel o, at every point and time.

    It serves where the samples have different points, so that there is no `MeanField`.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (3, 1)})
        >>> model = MeanValue(schema=schema, normalizer=normalizer)
        >>> x, mask = torch.rand(1, 4, 1), torch.ones(1, 4) > 0
        >>> batch = Sample(x, torch.rand(2, 4, 1), mask, x, torch.zeros(2, 1, 4, 1), mask,
        ...                torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).unique()
        tensor([3.])
    """

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        shape = (len(batch.u), batch.t.shape[-1], batch.y.shape[1], self.schema.out_channels)
        return self.normalizer.physical(batch.u.new_zeros(shape), batch.params)


class Persistence(InputPointOperator):
    """v(t) = u(0), the last frame of the input at all times.

    Args:
        schema, normalizer: the problem.

    Raises:
        ValueError: an output is not among the inputs.

    Example:
        >>> schema = Schema(("x",), ("u",), ("u",), bounds=((0.0, 1.0),), dt=0.5)
        >>> model = Persistence(schema=schema, normalizer=Normalizer(schema, {"u": (0, 1)}))
        >>> x, mask = torch.rand(1, 4, 1), torch.ones(1, 4) > 0
        >>> batch = Sample(x, torch.ones(2, 4, 1), mask, x, torch.zeros(2, 3, 4, 1), mask,
        ...                torch.tensor([[0.5, 1.0, 1.5]] * 2), torch.zeros(2, 0))
        >>> model(batch)[0, :, 0, 0]
        tensor([1., 1., 1.])
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        missing = [name for name in schema.outputs if name not in schema.inputs]
        if missing:
            raise ValueError(
                f"Persistence needs every output among the inputs {', '.join(schema.inputs)}, "
                f"which lack {', '.join(missing)}. Use `MeanField`."
            )
        last = len(schema.inputs) * (schema.history - 1)
        self.columns = [last + schema.inputs.index(name) for name in schema.outputs]

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, the same at all times."""
        return super().forward(batch).expand(-1, batch.t.shape[1], -1, -1)

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """The input channels of the same names, normalized as outputs."""
        return self.normalizer.normalized(batch.u[..., self.columns], batch.params)
