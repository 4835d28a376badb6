"""The training sample with the nearest input, as a reference that a useful model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fields.baselines.base import SensorOperator
from fields.baselines.pca_net import stack_samples
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer


class NearestNeighbor(SensorOperator):
    r"""v(u) = v_i,   i = argmin_i d(u, u_i)

        d(u, u_i)² = Σ_channels mean_points (u − u_i)² + Σ_params (p − p_i)²

    All values are normalized, so that every input and every parameter has the same weight. The
    prediction for a training input is its own target exactly.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        samples: number of training samples.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> x, mask = torch.linspace(0, 1, 8)[:, None], torch.ones(8) > 0
        >>> data = [Sample(x, a, mask, x, 3 * a[None], mask, torch.zeros(1), torch.zeros(0))
        ...         for a in (torch.zeros(8, 1), torch.ones(8, 1))]
        >>> model = NearestNeighbor.fit(data, schema=schema, normalizer=normalizer)
        >>> batch = stack_samples(data, "")
        >>> model(batch._replace(u=0.8 * batch.u))[:, 0, 0, 0]
        tensor([0., 3.])
    """

    given: Tensor
    targets: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int, samples: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        features = count * schema.in_channels + len(schema.params)
        self.register_buffer("given", torch.zeros(samples, features))
        self.register_buffer("targets", torch.zeros(samples, count, schema.out_channels))

    @classmethod
    def fit(
        cls, data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer
    ) -> NearestNeighbor:
        """Keep the training data, on points that all samples share."""
        every = stack_samples(data, "NearestNeighbor")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1], samples=len(data))
        order = model.sensors.expect(normalizer.points(every.x), "NearestNeighbor")
        model.given.copy_(model.features(every))
        model.targets.copy_(normalizer.normalized(every.v[:, 0, order], every.params))
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        # Direct differences: the expansion |a|² − 2ab + |b|² confuses neighbors in float32.
        distance = torch.cdist(
            self.features(batch), self.given, compute_mode="donot_use_mm_for_euclid_dist"
        )
        return self.decode_sensors(self.targets[distance.argmin(dim=1)], batch)
