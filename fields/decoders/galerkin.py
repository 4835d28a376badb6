"""Linear finite elements with an orthonormal basis, so that tokens carry the L2 norm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.decoders.cpwl import interpolate
from fields.nn.embeddings import grid_points
from fields.nn.interpolation.mesh import hat_basis

# Quadrature points per token and axis.
FINE = 8


class Galerkin(Decoder):
    r"""A field linear in its tokens, in orthonormal combinations of hat functions.

        f(y) = Σᵢ ψᵢ(y) W zᵢ,   ψ = M^{−½} φ,   Mᵢⱼ = ∫ φᵢ φⱼ,   hence   ½ ∫ |f|² = ½ |z Wᵀ|²

    φ are the hat functions of `CPWL` on the tokens' positions. M^{−½} is symmetric, so ψᵢ remains
    centered at its token. With `fields.flows.Isometry` the L2 energy of the field is constant.
    There is no bias, and ``cond`` is ignored, because both would break the identity; a skip path
    adds a field of its own that does not evolve with the tokens. The integral is the midpoint rule
    on a grid over the domain, in normalized units.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> field = Galerkin(16, schema)
        >>> norm = field.value(latent.z).square().sum((1, 2)) / 2
        >>> torch.allclose(field.energy(latent), norm, rtol=1e-4)
        True
    """

    def __init__(self, dim: int, schema: Schema, *, skip_features: int = 0):
        super().__init__()
        self.value = nn.Linear(dim, schema.out_channels, bias=False)
        self.skip_features = skip_projection(skip_features, schema, schema.out_channels)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        with torch.autocast(latent.z.device.type, enabled=False):
            values = self.value(latent.z.to(self.value.weight.dtype))
            nodal = inverse_root(latent).to(values.dtype) @ values
            v = interpolate(nodal, latent, y)
        return v if self.skip_features is None else v + self.skip_features(skip_features)

    def on_grid(self, latent: Latent) -> Float[Tensor, "#b q k"]:
        """Basis functions ψ at the quadrature points, in double precision."""
        return interpolate(
            inverse_root(latent),
            latent._replace(pos=latent.pos.double()),
            quadrature(latent)[None].double(),
        )

    def energy(self, latent: Latent) -> Float[Tensor, "b"]:
        """½ ∫ |f|² over the domain, by quadrature of the field."""
        f = self.on_grid(latent).to(latent.z.dtype) @ self.value(latent.z)
        return 0.5 * f.square().sum(-1).mean(-1)


def quadrature(latent: Latent) -> Float[Tensor, "q d"]:
    """Centers of the cells of a grid with `FINE` points per token and axis, in unit coordinates."""
    k, d = latent.pos.shape[-2:]
    return grid_points((FINE * round(k ** (1 / d) + 0.5),) * d).to(latent.pos)


@torch.no_grad()
def inverse_root(latent: Latent) -> Float[Tensor, "#b k k"]:
    """The symmetric M^{−½} of the hat functions on the tokens, in double precision."""
    points = quadrature(latent).double()
    roots = []
    for nodes in latent.pos.double():
        index, weight = hat_basis(points, nodes, latent.periodic)
        phi = points.new_zeros(len(points), len(nodes)).scatter_add(1, index, weight)
        values, vectors = torch.linalg.eigh(phi.mT @ phi / len(points))
        roots.append(vectors * values.rsqrt() @ vectors.mT)
    return torch.stack(roots)
