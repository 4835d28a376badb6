"""PCA-Net: an MLP from principal components of the input to those of the output."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import SensorOperator
from fields.baselines.deeponet import mlp
from fields.core.sample import Sample, Schema, collate
from fields.data.normalizer import Normalizer
from fields.nn.interpolation.pod import PODBasis


class PCANet(SensorOperator):
    r"""v = v̄ + V S_v MLP( S_u⁻¹ Uᵀ (u − ū) )

    U and V are the principal components of the training inputs and outputs at the sensors, S the
    standard deviations of their coefficients. :meth:`fit` computes them; only the MLP is trained.

    Reference: Bhattacharya, Hosseini, Kovachki & Stuart, SMAI J. Comput. Math. 7, 2021.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        components: number of principal components of input and output.
        width: of the MLP.
        depth: number of hidden layers of the MLP.

    Example:
        >>> import torch
        >>> from fields import Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> x, mask = torch.linspace(0, 1, 8)[:, None], torch.ones(8) > 0
        >>> data = [Sample(x, a, mask, x, a[None] ** 2, mask, torch.zeros(1), torch.zeros(0))
        ...         for a in torch.rand(20, 8, 1)]
        >>> model = PCANet.fit(data, schema=schema, normalizer=normalizer, components=4)
        >>> model(stack_samples(data, "")).shape
        torch.Size([20, 1, 8, 1])
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        count: int,
        components: int = 32,
        width: int = 256,
        depth: int = 3,
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        self.given = PODBasis(count * schema.in_channels + len(schema.params), components)
        self.asked = PODBasis(count * schema.out_channels, components)
        self.net = mlp(components, width, components, depth)

    @classmethod
    def fit(
        cls,
        data: Sequence[Sample],
        *,
        schema: Schema,
        normalizer: Normalizer,
        components: int = 32,
        **options: int,
    ) -> PCANet:
        """Compute the bases from the training data; the MLP has random weights.

        Args:
            data: on points that all samples share.
            schema, normalizer: the problem.
            components: at most the number of samples − 1.
            options: width and depth.
        """
        every = stack_samples(data, "PCANet")
        components = min(components, len(data) - 1)
        model = cls(
            schema=schema,
            normalizer=normalizer,
            count=every.x.shape[1],
            components=components,
            **options,
        )
        order = model.sensors.expect(normalizer.points(every.x), "PCANet")
        model.given.fit(model.sensor_inputs(every))
        model.asked.fit(normalizer.normalized(every.v[:, 0, order], every.params).flatten(1))
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        v = self.asked(self.net(self.given.coefficients(self.sensor_inputs(batch))))
        return self.decode_sensors(v.reshape(len(v), self.sensors.count, -1), batch)


def stack_samples(data: Sequence[Sample], name: str) -> Sample:
    """All samples of a dataset as one batch.

    Args:
        data: on points that all samples share.
        name: of the model, for the message.

    Raises:
        ValueError: the samples have points of their own.
    """
    every = collate([data[i] for i in range(len(data))])
    if len(every.x) != 1:
        raise ValueError(
            f"{name} is fitted on points that all samples share, got different points per sample. "
            "Use a `FieldOperator`."
        )
    return every
