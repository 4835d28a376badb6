"""Finite elements: attention whose weights are hat functions of the tokens' positions."""

from __future__ import annotations

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.interpolation.mesh import hats


class CPWL(Decoder):
    r"""The continuous piecewise linear interpolant of one value per token.

        f(y) = Σᵢ φᵢ(y) W zᵢ  =  Σᵢ softmaxᵢ( log φᵢ(y) ) W zᵢ

    φᵢ are the hat functions on the mesh whose nodes are the tokens: neighbors on a line, Delaunay
    triangles in the plane, tetrahedra in space. It is the attention that `CrossAttention`
    generalizes, with the one score that reproduces linear functions exactly; there is nothing to
    learn but W. Only the d + 1 weights that do not vanish are computed.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.
    """

    def __init__(self, dim: int, schema: Schema, *, skip_features: int = 0):
        super().__init__()
        self.value = nn.Linear(dim, schema.out_channels)
        self.condition = nn.Linear(dim, schema.out_channels, bias=False) if schema.params else None
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, schema.out_channels, bias=False)
            if skip_features
            else None
        )

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        values = self.value(latent.z)
        values = (
            values
            if cond is None or self.condition is None
            else values + self.condition(cond)[:, None]
        )
        v = interpolate(values, latent, y)
        return v if self.skip_features is None else v + self.skip_features(skip_features)


def interpolate(
    values: Float[Tensor, "b k o"], latent: Latent, y: Float[Tensor, "#b m d"]
) -> Float[Tensor, "b m o"]:
    """Σᵢ φᵢ(y) valuesᵢ; one mesh for the batch where nodes and queries are shared."""
    with torch.autocast(y.device.type, enabled=False):
        pairs = max(len(latent.pos), len(y))
        made = [
            hats(y[i % len(y)], latent.pos[i % len(latent.pos)].to(y.dtype), latent.periodic)
            for i in range(pairs)
        ]
        index, weight = (torch.stack(part) for part in zip(*made, strict=True))
        batch = torch.arange(len(values), device=values.device)[:, None, None]
        weight = weight.expand(len(values), -1, -1).to(values.dtype)
        return einsum(weight, values[batch, index], "b m v, b m v o -> b m o")
