"""DeepONet as published: an MLP of the sensors times an MLP of the point."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.baselines.base import SensorOperator
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer


class DeepONet(SensorOperator):
    r"""v_o(y) = Σ_r B_or(u(x₁), …, u(x_n), p) T_r(y) + b_o

    The sensors x_j are the points of the first input it sees; the points y are any.

    Reference: Lu et al., Nature Machine Intelligence 3, 2021.

    Args:
        schema, normalizer: the problem.
        count: number of sensors; by default the points of the training grid.
        width: of both networks, and number of basis functions.
        depth: hidden layers of both.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        count: int | None = None,
        width: int = 128,
        depth: int = 3,
    ):
        super().__init__(
            schema=schema, normalizer=normalizer, count=count or grid_size(schema, "DeepONet")
        )
        self.outputs, self.width = schema.out_channels, width
        features = self.sensors.count * schema.in_channels + len(schema.params)
        self.branch = mlp(features, width, self.outputs * width, depth)
        self.trunk = nn.Sequential(*mlp(schema.dim, width, width, depth), nn.GELU())
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries, in physical units."""
        b = rearrange(self.branch(self.sensor_inputs(batch)), "b (o r) -> b o r", o=self.outputs)
        t = self.trunk(self.normalizer.points(batch.y)).expand(len(b), -1, -1)
        v = einsum(b, t, "b o r, b m r -> b m o") / math.sqrt(t.shape[-1]) + self.bias
        return self.normalizer.physical(v, batch.params)[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Activations of the trunk."""
        return 16.0 * self.width


def grid_size(schema: Schema, name: str) -> int:
    """Points of the training grid."""
    if schema.grid is None:
        raise ValueError(
            f"{name} has fixed sensors and the points of this problem are scattered. Give their `count`."
        )
    return math.prod(schema.grid)


def mlp(inner: int, width: int, outer: int, depth: int) -> nn.Sequential:
    """``depth`` hidden layers."""
    sizes = [inner, *[width] * depth]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*hidden, nn.Linear(width, outer))
