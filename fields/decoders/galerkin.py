"""Finite elements with an orthonormal basis: the size of the tokens is the L2 norm of the field."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.decoders.cpwl import interpolate
from fields.nn.embeddings import grid_points
from fields.nn.interpolation.mesh import hats

FINE = 8  # quadrature points per token and axis


class Galerkin(Decoder):
    r"""A field linear in its tokens, in orthonormal combinations of hat functions.

        f(y) = Σᵢ ψᵢ(y) W zᵢ,   ψ = M^{−½} φ,   Mᵢⱼ = ∫ φᵢ φⱼ,   hence   ½ ∫ |f|² = ½ |z Wᵀ|²

    φ are the hat functions of `CPWL` on the tokens' positions; M^{−½} is symmetric, so ψᵢ stays
    centerd at its token. With `fields.flows.Isometry` the L2 energy of the field is constant. There
    is no bias and no conditioning, which would break the identity; a skip path adds a field of its
    own that does not move with the tokens. The integral is the midpoint rule on a grid over the
    domain, in normalized units.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.
    """

    def __init__(self, dim: int, schema: Schema, *, skip_features: int = 0):
        super().__init__()
        self.value = nn.Linear(dim, schema.out_channels, bias=False)
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
        """Field at points y; ``cond`` acts through the tokens alone."""
        with torch.autocast(latent.z.device.type, enabled=False):
            values = self.value(latent.z.to(self.value.weight.dtype))
            nodal = inverse_root(latent).to(values.dtype) @ values
            v = interpolate(nodal, latent, y)
        return v if self.skip_features is None else v + self.skip_features(skip_features)

    def on_grid(self, latent: Latent) -> Float[Tensor, "#b q k"]:
        """ψ at the points of the quadrature, in double precision."""
        return interpolate(
            inverse_root(latent),
            latent._replace(pos=latent.pos.double()),
            quadrature(latent)[None].double(),
        )

    def energy(self, latent: Latent) -> Float[Tensor, "b"]:
        """½ ∫ |f|² over the domain, by quadrature of the field that the tokens carry."""
        f = self.on_grid(latent).to(latent.z.dtype) @ self.value(latent.z)
        return 0.5 * f.square().sum(-1).mean(-1)


def quadrature(latent: Latent) -> Float[Tensor, "q d"]:
    """Midpoints of a grid with `FINE` points per token and axis, in unit coordinates."""
    k, d = latent.pos.shape[-2:]
    return grid_points((FINE * round(k ** (1 / d) + 0.5),) * d).to(latent.pos)


@torch.no_grad()
def inverse_root(latent: Latent) -> Float[Tensor, "#b k k"]:
    """M^{−½}, symmetric, in double precision."""
    points, roots = quadrature(latent).double(), []
    for nodes in latent.pos.double():
        index, weight = hats(points, nodes, latent.periodic)
        phi = points.new_zeros(len(points), len(nodes)).scatter_add(1, index, weight)
        values, vectors = torch.linalg.eigh(phi.mT @ phi / len(points))
        roots.append(vectors * values.rsqrt() @ vectors.mT)
    return torch.stack(roots)
