"""Ridge regression from the sampled input to the sampled output, a reference for every model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fields.baselines.base import SensorOperator
from fields.baselines.kernel_ridge import ridge_coefficients
from fields.baselines.pca_net import stack_samples
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer

# Values of λ that are tried. Smaller ones fit the rounding of data in single precision, which the
# leave-one-out error does not show and a repeated step amplifies.
RIDGES = tuple(10.0**power for power in range(-6, 1))


class LinearRegression(SensorOperator):
    r"""v(u) = v̄ + W (u − ū),   W = argmin Σ_i ‖v_i − v̄ − W (u_i − ū)‖² + λ ‖W‖²

    The inputs are the normalized values of all variables at all sensors and the parameters. The
    solution is computed in its dual form, W (u − ū) = Σ_i ⟨u − ū, u_i − ū⟩ α_i, which costs n³
    for n samples and any number of points; λ ≥ 1e-6 ⟨‖u − ū‖²⟩ has the least leave-one-out error. A
    linear operator is learned almost exactly from more samples than there are inputs.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        samples: number of training samples.

    Reference: Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, eq. 3.44.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> x, mask = torch.linspace(0, 1, 8)[:, None], torch.ones(8) > 0
        >>> data = [Sample(x, a, mask, x, 3 * a.flip(0)[None], mask, torch.zeros(1), torch.zeros(0))
        ...         for a in torch.rand(20, 8, 1)]
        >>> model = LinearRegression.fit(data, schema=schema, normalizer=normalizer)
        >>> batch = stack_samples(data, "")
        >>> bool((model(batch) - batch.v).norm() < 1e-4 * batch.v.norm())
        True
    """

    given: Tensor
    center: Tensor
    scale: Tensor
    mean: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int, samples: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        features = count * schema.in_channels + len(schema.params)
        self.register_buffer("given", torch.zeros(samples, features))
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("mean", torch.zeros(count * schema.out_channels))
        self.alpha = nn.Parameter(
            torch.zeros(samples, count * schema.out_channels), requires_grad=False
        )

    @classmethod
    def fit(
        cls, data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer
    ) -> LinearRegression:
        """Compute the model from its training data, on points that all samples share."""
        every = stack_samples(data, "LinearRegression")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1], samples=len(data))
        model.solve(every, normalizer.normalized(every.v[:, 0], every.params))
        return model

    def solve(self, every: Sample, targets: Float[Tensor, "n m o"]) -> None:
        """Compute the coefficients.

        Args:
            every: all training samples as one batch.
            targets: what is predicted for them, normalized, at the points of the batch.
        """
        order = self.sensors.expect(self.normalizer.points(every.x), "LinearRegression")
        rows = self.features(every).double()
        values = targets[:, order].flatten(1).double()
        center = rows.mean(0)
        mean = values.mean(0)
        centered = rows - center
        kernel = centered @ centered.mT
        scale = kernel.diagonal().mean().clamp_min(torch.finfo(kernel.dtype).tiny)
        _, alpha = ridge_coefficients(kernel / scale, values, mean, RIDGES)
        with torch.no_grad():
            for buffer, fitted in (
                (self.given, centered),
                (self.center, center),
                (self.scale, scale),
                (self.mean, mean),
                (self.alpha, alpha),
            ):
                buffer.copy_(fitted)

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        return self.decode_sensors(self._at_sensors(batch), batch)

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """Normalized predictions at the points of the input, which are the sensors.

        Raises:
            ValueError: the input has other points.
        """
        order: Int[Tensor, "n"] = self.sensors.expect(
            self.normalizer.points(batch.x), type(self).__name__
        )
        return self._at_sensors(batch)[:, order.argsort()]

    def _at_sensors(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """Normalized predictions at the sensors, in their order."""
        # In double precision, as the entries of α are large and of both signs.
        rows = self.features(batch).double() - self.center.double()
        kernel = rows @ self.given.double().mT / self.scale.double()
        v = self.mean.double() + kernel @ self.alpha.double()
        return v.float().reshape(len(v), self.sensors.count, -1)
