"""Principal components of the input to principal components of the output, by an MLP."""

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

    Both ends are linear in a basis learned from the training data, whitened by the spread S of its
    coefficients. The bases come from :meth:`fit` and stay; the MLP between them is then trained by
    gradient.

    Reference: Bhattacharya, Hosseini, Kovachki & Stuart, SMAI J. Comput. Math. 7, 2021.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        components: size of both bases.
        width, depth: of the MLP.
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
    ):
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
        """The model with the bases of its training data; there are no more components than samples."""
        every, components = stack_samples(data, "PCANet"), min(components, len(data) - 1)
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
        """Predictions at the batch's queries, in physical units."""
        v = self.asked(self.net(self.given.coefficients(self.sensor_inputs(batch))))
        return self.decode_sensors(v.reshape(len(v), self.sensors.count, -1), batch)


def stack_samples(data: Sequence[Sample], name: str) -> Sample:
    """All samples of a data set as one batch, on shared points."""
    every = collate([data[i] for i in range(len(data))])
    if len(every.x) != 1:
        raise ValueError(
            f"{name} is fitted on points that all samples share, got a set of points per sample. Use a `FieldOperator`."
        )
    return every
