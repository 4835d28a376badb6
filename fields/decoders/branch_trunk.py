"""The field is a combination of learned basis functions, with learned coefficients."""

from __future__ import annotations

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.attention.pool import Pool
from fields.nn.blocks import MLP
from fields.nn.embeddings import Fourier


class BranchTrunk(Decoder):
    r"""Branch times trunk, exactly bilinear.

        f_o(y) = Σ_r  B_or(z) T_r(y)

    The trunk T depends on the point alone (and on the input skip_features it, where there is a skip
    path), the branch B on the code alone. There is no bias: the normalizer has taken the mean away.

    Reference: Lu et al., Nature Machine Intelligence 3, 2021.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        rank: number of basis functions, by default h.
        seeds: see `Pool`.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        skip_features: int = 0,
        rank: int | None = None,
        seeds: int = 4,
    ):
        super().__init__()
        rank, self.outputs = rank or dim, schema.out_channels
        self.pool = Pool(dim, schema, seeds=seeds)
        self.to_branch = nn.Sequential(nn.LayerNorm(dim), MLP(dim, out=self.outputs * rank))
        self.fourier = Fourier(schema.periodic)
        self.lift = nn.Linear(self.fourier.dim, dim)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, dim, bias=False)
            if skip_features
            else None
        )
        self.to_trunk = nn.Sequential(
            nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, rank)
        )

    def branch(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None
    ) -> Float[Tensor, "b o r"]:
        """Coefficients."""
        return rearrange(
            self.to_branch(self.pool(latent, cond)), "b (o r) -> b o r", o=self.outputs
        )

    def trunk(
        self, y: Float[Tensor, "#b m d"], skip_features: Float[Tensor, "b m c"] | None = None
    ) -> Float[Tensor, "#b m r"]:
        """Basis functions."""
        t = self.lift(self.fourier(y))
        return self.to_trunk(
            t if self.skip_features is None else t + self.skip_features(skip_features)
        )

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        b, t = self.branch(latent, cond), self.trunk(y, skip_features)
        return einsum(b, t.expand(len(b), -1, -1), "b o r, b m r -> b m o") / t.shape[-1] ** 0.5
