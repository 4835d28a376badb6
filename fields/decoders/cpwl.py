"""Linear finite elements on the positions of the tokens."""

from __future__ import annotations

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.interpolation.mesh import hat_basis


class CPWL(Decoder):
    r"""The continuous piecewise linear interpolant of one value per token.

        f(y) = Σᵢ φᵢ(y) W zᵢ  =  Σᵢ softmaxᵢ( log φᵢ(y) ) W zᵢ

    φᵢ are the hat functions on the mesh whose nodes are the tokens: intervals on a line, Delaunay
    triangles in the plane, tetrahedra in space. It is the special case of `CrossAttention` whose
    score reproduces linear functions exactly; only W is learned. Only the d + 1 weights that do not
    vanish are computed. At least d + 1 tokens are needed.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> field = CPWL(16, schema)
        >>> torch.allclose(field(latent, pos), field.value(latent.z), atol=1e-6)  # at the nodes
        True
    """

    def __init__(self, dim: int, schema: Schema, *, skip_features: int = 0):
        super().__init__()
        self.value = nn.Linear(dim, schema.out_channels)
        self.condition = nn.Linear(dim, schema.out_channels, bias=False) if schema.params else None
        self.skip_features = skip_projection(skip_features, schema, schema.out_channels)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        values = self.value(latent.z)
        if cond is not None and self.condition is not None:
            values = values + self.condition(cond)[:, None]
        v = interpolate(values, latent, y)
        return v if self.skip_features is None else v + self.skip_features(skip_features)


def interpolate(
    values: Float[Tensor, "b k o"], latent: Latent, y: Float[Tensor, "#b m d"]
) -> Float[Tensor, "b m o"]:
    """Σᵢ φᵢ(y) valuesᵢ, with one mesh for the batch if samples share nodes and queries.

    Args:
        values: one vector per node.
        latent: gives the nodes and the periodic axes.
        y: points in unit coordinates.
    """
    with torch.autocast(y.device.type, enabled=False):
        pairs = max(len(latent.pos), len(y))
        made = [
            hat_basis(y[i % len(y)], latent.pos[i % len(latent.pos)].to(y.dtype), latent.periodic)
            for i in range(pairs)
        ]
        index, weight = (torch.stack(part) for part in zip(*made, strict=True))
        batch = torch.arange(len(values), device=values.device)[:, None, None]
        weight = weight.expand(len(values), -1, -1).to(values.dtype)
        return einsum(weight, values[batch, index], "b m v, b m v o -> b m o")
