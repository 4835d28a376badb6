"""Values at fixed sensors, encoded as in the branch of a DeepONet."""

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
    r"""An MLP of the values at all sensors.

        z = MLP( u(x₁), …, u(x_n) ) + P(a)

    The sensors are the points of the first input that the encoder receives, and are stored with the
    weights. Later inputs must have values at all of these points, in any order. The tokens are
    assigned to a regular grid of anchors a.

    Reference: Lu et al., Nature Machine Intelligence 3 (2021), the branch network.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis, by default 32, 16² or 6³.
        count: number of sensors n; by default the points of the training grid.

    Raises:
        ValueError: the schema has no grid and no ``count`` is given; in ``forward``, points that
            are not the sensors, or missing values.

    Example:
        >>> import torch
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> x, u = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1), torch.randn(3, 8, 1)
        >>> BranchNet(16, schema, tokens=(4,))(x, u, torch.ones(1, 8) > 0).z.shape
        torch.Size([3, 4, 16])
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
                "`BranchNet` needs a number of sensors, and the points of this problem are "
                "scattered. Give the `count` of sensors, or use `CrossAttentionEncoder`."
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
        """Values at the sensors to one token per anchor (see `Encoder`)."""
        if not bool(x_mask.all()):
            raise ValueError(
                "`BranchNet` needs a value at every sensor, got missing ones. Use "
                "`CrossAttentionEncoder` or, on a grid, `WindowedMoments`."
            )
        order = self.sensors.expect(x, "BranchNet")
        anchors = self.anchors[None].to(x.dtype)
        z = rearrange(self.mlp(u[:, order].flatten(1)), "b (k h) -> b k h", k=anchors.shape[1])
        z = z + self.position(anchors)
        return Latent(z if cond is None else z + cond[:, None], anchors, self.periodic)
