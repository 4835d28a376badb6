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

LENGTH_SCALES = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
)  # kernel lengths that are tried, in medians of the distances between inputs

RIDGES = tuple(10.0**power for power in range(-10, 1))


class KernelRidge(SensorOperator):
    r"""v(u) = v̄ + Σᵢ k(u, uᵢ) αᵢ,   α = (K + λ)⁻¹ (V − v̄),   k = (1 + √5 r + 5r²/3) e^{−√5 r},   r = ‖u − uᵢ‖/ℓ

    A Matérn-5/2 kernel of the sampled inputs. It is fitted in closed form and never trained: ℓ and
    λ are those of a small grid with the least leave-one-out error, αᵢ/((K + λ)⁻¹)ᵢᵢ, which one
    eigendecomposition per ℓ gives for all λ.

    Reference: Batlle, Darcy, Hosseini & Owhadi, J. Comput. Phys. 496, 2024.

    Args:
        schema, normalizer: the problem.
        count: number of training points.
        samples: number of training samples.
    """

    given: Tensor
    length: Tensor
    mean: Tensor

    def __init__(self, *, schema: Schema, normalizer: Normalizer, count: int, samples: int):
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
        """The model of its training data."""
        every = stack_samples(data, "KernelRidge")
        model = cls(schema=schema, normalizer=normalizer, count=every.x.shape[1], samples=len(data))
        order = model.sensors.expect(normalizer.points(every.x), "KernelRidge")
        rows = model.sensor_inputs(every).double()
        targets = normalizer.normalized(every.v[:, 0, order], every.params).flatten(1).double()
        mean, distances = targets.mean(0), torch.cdist(rows, rows)
        median, best = distances[distances > 0].median(), (math.inf, torch.ones(()), targets)
        for reach in LENGTH_SCALES:
            values, vectors = torch.linalg.eigh(matern52(distances / (reach * median)))
            turned = vectors.mT @ (targets - mean)
            for ridge in RIDGES:
                inverse = 1 / (values.clamp_min(0) + ridge)
                alpha = vectors @ (inverse[:, None] * turned)
                left_out = alpha / (vectors.square() @ inverse)[:, None]
                error = float((left_out.norm(dim=1) / targets.norm(dim=1).clamp_min(1e-12)).mean())
                best = min(best, (error, reach * median, alpha), key=lambda trial: trial[0])
        with torch.no_grad():
            for held, fitted in (
                (model.given, rows),
                (model.mean, mean),
                (model.length, best[1]),
                (model.alpha, best[2]),
            ):
                held.copy_(fitted)
        return model

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries, in physical units."""
        distance = torch.cdist(
            self.sensor_inputs(batch).double(), self.given.double()
        )  # α is large and of both signs
        v = self.mean + matern52(distance / self.length) @ self.alpha.double()
        return self.decode_sensors(v.float().reshape(len(v), self.sensors.count, -1), batch)


def matern52(r: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Matérn-5/2."""
    return (1 + math.sqrt(5) * r + 5 / 3 * r.square()) * torch.exp(-math.sqrt(5) * r)
