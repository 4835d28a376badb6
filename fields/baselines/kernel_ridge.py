"""Kernel ridge regression between sampled functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.baselines.base import SensorOperator
from fields.baselines.pca_net import stack_samples
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer

# Kernel lengths that are tried, in medians of the distances between inputs.
LENGTH_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

RIDGES = tuple(10.0**power for power in range(-10, 1))


class KernelRidge(SensorOperator):
    r"""v(u) = v̄ + Σᵢ k(u, uᵢ) αᵢ,   α = (K + λ)⁻¹ (V − v̄),   k(u, uᵢ) = κ(‖u − uᵢ‖/ℓ)

        κ(r) = (1 + √5 r + 5r²/3) e^{−√5 r}   (Matérn-5/2)

    The inputs are those at all sensors. The model is fitted in closed form and never trained: ℓ and
    λ are taken from a small grid by the least leave-one-out error, αᵢ / ((K + λ)⁻¹)ᵢᵢ, which one
    eigendecomposition per ℓ gives for all λ.

    Reference: Batlle, Darcy, Hosseini & Owhadi, J. Comput. Phys. 496, 2024.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        samples: number of training samples.

    Example:
        >>> from fields import Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> x, mask = torch.linspace(0, 1, 8)[:, None], torch.ones(8) > 0
        >>> data = [Sample(x, a, mask, x, a[None] ** 2, mask, torch.zeros(1), torch.zeros(0))
        ...         for a in torch.rand(20, 8, 1)]
        >>> model = KernelRidge.fit(data, schema=schema, normalizer=normalizer)
        >>> batch = stack_samples(data, "")
        >>> bool((model(batch) - batch.v).norm() < 0.1 * batch.v.norm())
        True
    """

    given: Tensor
    length: Tensor
    mean: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int, samples: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer, count=count)
        features = count * schema.in_channels + len(schema.params)
        self.register_buffer("given", torch.zeros(samples, features))
        self.register_buffer("length", torch.ones(()))
        self.register_buffer("mean", torch.zeros(count * schema.out_channels))
        self.alpha = nn.Parameter(
            torch.zeros(samples, count * schema.out_channels), requires_grad=False
        )

    @classmethod
    def fit(cls, data: Sequence[Sample], *, schema: Schema, normalizer: Normalizer) -> KernelRidge:
        """Compute the model from its training data, on points that all samples share."""
        every = stack_samples(data, "KernelRidge")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1], samples=len(data))
        order = model.sensors.expect(normalizer.points(every.x), "KernelRidge")
        rows = model.sensor_inputs(every).double()
        targets = normalizer.normalized(every.v[:, 0, order], every.params).flatten(1).double()
        mean = targets.mean(0)
        length, alpha = _select(rows, targets, mean)
        with torch.no_grad():
            for buffer, fitted in (
                (model.given, rows),
                (model.mean, mean),
                (model.length, length),
                (model.alpha, alpha),
            ):
                buffer.copy_(fitted)
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        # In double precision, as the entries of α are large and of both signs.
        distance = torch.cdist(self.sensor_inputs(batch).double(), self.given.double())
        v = self.mean + matern52(distance / self.length) @ self.alpha.double()
        return self.decode_sensors(v.float().reshape(len(v), self.sensors.count, -1), batch)


def _select(
    rows: Float[Tensor, "n f"], targets: Float[Tensor, "n g"], mean: Float[Tensor, "g"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "n g"]]:
    """ℓ and α of the least mean leave-one-out error, relative to the targets."""
    distances = torch.cdist(rows, rows)
    median = distances[distances > 0].median()
    best = (math.inf, torch.ones(()), targets)
    for scale in LENGTH_SCALES:
        error, alpha = ridge_coefficients(matern52(distances / (scale * median)), targets, mean)
        best = min(best, (error, scale * median, alpha), key=lambda trial: trial[0])
    return best[1], best[2]


def ridge_coefficients(
    kernel: Float[Tensor, "n n"],
    targets: Float[Tensor, "n g"],
    mean: Float[Tensor, "g"],
    ridges: Sequence[float] = RIDGES,
) -> tuple[float, Float[Tensor, "n g"]]:
    """α = (K + λ)⁻¹ (V − v̄) with the λ of the least leave-one-out error, and this error.

    The leave-one-out residuals of every λ are αᵢ / ((K + λ)⁻¹)ᵢᵢ, from one eigendecomposition.

    Args:
        kernel: K, with a diagonal of order 1, which is the scale of the ridges.
        targets: V, one row per training sample.
        mean: v̄, which is subtracted.
        ridges: values of λ that are tried.

    Returns:
        The mean leave-one-out error relative to the targets, and α.

    Example:
        >>> error, alpha = ridge_coefficients(torch.eye(2), torch.ones(2, 1), torch.zeros(1))
        >>> alpha.shape
        torch.Size([2, 1])
    """
    best = (math.inf, torch.zeros_like(targets))
    values, vectors = torch.linalg.eigh(kernel)
    turned = vectors.mT @ (targets - mean)
    for ridge in ridges:
        inverse = 1 / (values.clamp_min(0) + ridge)
        alpha = vectors @ (inverse[:, None] * turned)
        left_out = alpha / (vectors.square() @ inverse)[:, None]
        error = float((left_out.norm(dim=1) / targets.norm(dim=1).clamp_min(1e-12)).mean())
        best = min(best, (error, alpha), key=lambda trial: trial[0])
    return best


def matern52(r: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """κ(r) = (1 + √5 r + 5r²/3) e^{−√5 r}, the Matérn kernel of smoothness 5/2.

    Example:
        >>> matern52(torch.zeros(1, 1))
        tensor([[1.]])
    """
    return (1 + math.sqrt(5) * r + 5 / 3 * r.square()) * torch.exp(-math.sqrt(5) * r)
