"""DeepONet: an MLP of the input at sensors times an MLP of the query."""

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
    r"""v_o(y) = Σ_r B_or(u(x₁), …, u(x_n), p) T_r(y) / √R + b_o

    Branch B and trunk T are MLPs. The sensors x_j are the points of the first input it sees; the
    queries y are arbitrary.

    Reference: Lu et al., Nature Machine Intelligence 3, 2021.

    Args:
        schema, normalizer: the problem.
        count: number of sensors n; by default the points of the training grid.
        width: of both networks, and number R of basis functions.
        depth: number of hidden layers of both.

    Example:
        >>> from fields import Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(16,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = DeepONet(schema=schema, normalizer=normalizer, width=8)
        >>> x, y, mask = torch.rand(1, 16, 1), torch.rand(1, 5, 1), torch.ones(1, 5) > 0
        >>> batch = Sample(x, torch.rand(2, 16, 1), torch.ones(1, 16) > 0, y,
        ...                torch.zeros(2, 1, 5, 1), mask, torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 5, 1])
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        count: int | None = None,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__(
            schema=schema, normalizer=normalizer, count=count or grid_size(schema, "DeepONet")
        )
        self.outputs = schema.out_channels
        self.width = width
        features = self.sensors.count * schema.in_channels + len(schema.params)
        self.branch = mlp(features, width, self.outputs * width, depth)
        self.trunk = nn.Sequential(*mlp(schema.dim, width, width, depth), nn.GELU())
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the queries of the batch, in physical units."""
        b = rearrange(self.branch(self.sensor_inputs(batch)), "b (o r) -> b o r", o=self.outputs)
        t = self.trunk(self.normalizer.points(batch.y)).expand(len(b), -1, -1)
        v = einsum(b, t, "b o r, b m r -> b m o") / math.sqrt(t.shape[-1]) + self.bias
        return self.normalizer.physical(v, batch.params)[:, None]

    def decode_bytes(self, batch: Sample) -> float:
        """Bytes of the trunk's activations per query."""
        return 16.0 * self.width


def grid_size(schema: Schema, name: str) -> int:
    """Number of points of the training grid.

    Args:
        schema: the problem.
        name: of the model, for the message.

    Raises:
        ValueError: the points of the problem are scattered.
    """
    if schema.grid is None:
        raise ValueError(
            f"{name} has fixed sensors, and the points of this problem are scattered. "
            "Set their number with `count`."
        )
    return math.prod(schema.grid)


def mlp(inputs: int, width: int, outputs: int, depth: int) -> nn.Sequential:
    """An MLP with `depth` hidden layers of GELUs."""
    sizes = [inputs, *[width] * depth]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))
