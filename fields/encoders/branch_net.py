"""Fixed sensors become tokens, as in the branch of a DeepONet."""

from __future__ import annotations

import math

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.nn.blocks import MLP
from fields.nn.sensor_array import SensorArray


class BranchNet(Anchored):
    r"""An MLP of all sensor values at once.

        z = MLP( u(x₁), …, u(x_n) ) + P(a)

    The sensors are the points of the first input it sees. It reads those points alone, in any
    order: another number of sensors, or sensors elsewhere, are refused. The tokens are put on a
    regular grid of anchors a.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis, by default 32, 16² or 6³.
        count: number of sensors; by default the points of the training grid.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        tokens: tuple[int, ...] | None = None,
        count: int | None = None,
    ):
        super().__init__(dim, schema, tokens=tokens)
        if count is None and schema.grid is None:
            raise ValueError(
                "The points of this problem are scattered: give the `count` of sensors, or use the `CrossAttentionEncoder` encoder."
            )
        self.sensors = SensorArray(count or math.prod(schema.grid or ()), schema.dim)
        inner = self.sensors.count * schema.in_channels
        self.mlp = nn.Sequential(
            nn.Linear(inner, dim), nn.GELU(), MLP(dim, out=math.prod(self.tokens) * dim, ratio=1.0)
        )

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at the sensors -> one token per anchor."""
        order, anchors = self.sensors.expect(x, "Sensors"), self.anchors[None].to(x.dtype)
        z = rearrange(
            self.mlp(u[:, order].flatten(1)), "b (k h) -> b k h", k=anchors.shape[1]
        ) + self.position(anchors)
        return Latent(z if cond is None else z + cond[:, None], anchors, self.periodic)
