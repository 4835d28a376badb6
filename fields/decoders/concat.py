"""The code is one more input of a network of the point."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.attention.pool import Pool
from fields.nn.embeddings import Fourier


class Concat(Decoder):
    r"""A network of the point, the code and what is skip_features, side by side.

        f(y) = MLP( [γ(y), z, skip_features(y)] )

    γ are Fourier features, periodic where the axis is; z is one code pooled from the tokens. The
    first layer is linear in the concatenation, so the code's share of it is computed once per field
    and not once per query.

    Reference: Park et al., DeepSDF, CVPR 2019.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: hidden layers after the first.
        seeds: see `Pool`.
    """

    def __init__(
        self, dim: int, schema: Schema, *, skip_features: int = 0, depth: int = 3, seeds: int = 4
    ):
        super().__init__()
        self.pool = Pool(dim, schema, seeds=seeds)
        self.fourier = Fourier(schema.periodic)
        self.point, self.code = nn.Linear(self.fourier.dim, dim), nn.Linear(dim, dim, bias=False)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, dim, bias=False)
            if skip_features
            else None
        )
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.head = nn.Linear(dim, schema.out_channels)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        q = self.point(self.fourier(y)) + self.code(self.pool(latent, cond))[:, None]
        q = q if self.skip_features is None else q + self.skip_features(skip_features)
        for layer in self.layers:
            q = q + layer(F.gelu(q))
        return self.head(F.gelu(q))
