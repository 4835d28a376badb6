"""A combination of learned basis functions with learned coefficients (DeepONet)."""

from __future__ import annotations

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.attention.pool import AttentionPooling
from fields.nn.blocks import MLP
from fields.nn.embeddings import FourierFeatures


class BranchTrunk(Decoder):
    r"""Branch times trunk: bilinear in the coefficients B and the basis functions T.

        f_o(y) = Σ_r B_or(z) T_r(y) / √rank

    The trunk T depends only on the point (and on the skip path, if there is one), the branch B only
    on the code. There is no bias, because the normalizer has subtracted the mean.

    Reference: Lu et al., Nature Machine Intelligence 3 (2021), eq. 2.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        rank: number of basis functions, by default h.
        seeds: of the pooling, see :class:`~fields.nn.attention.pool.AttentionPooling`.

    Example:
        >>> import torch
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> BranchTrunk(16, schema)(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
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
        rank = rank or dim
        self.outputs = schema.out_channels
        self.pool = AttentionPooling(dim, schema, seeds=seeds)
        self.to_branch = nn.Sequential(nn.LayerNorm(dim), MLP(dim, out=self.outputs * rank))
        self.fourier = FourierFeatures(schema.periodic)
        self.lift = nn.Linear(self.fourier.dim, dim)
        self.skip_features = skip_projection(skip_features, schema, dim)
        self.to_trunk = nn.Sequential(
            nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, rank)
        )

    def branch(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None
    ) -> Float[Tensor, "b o r"]:
        """Coefficients B of the basis functions, for every output."""
        return rearrange(
            self.to_branch(self.pool(latent, cond)), "b (o r) -> b o r", o=self.outputs
        )

    def trunk(
        self, y: Float[Tensor, "#b m d"], skip_features: Float[Tensor, "b m c"] | None = None
    ) -> Float[Tensor, "#b m r"]:
        """Basis functions T at points y."""
        t = self.lift(self.fourier(y))
        if self.skip_features is not None:
            t = t + self.skip_features(skip_features)
        return self.to_trunk(t)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        b = self.branch(latent, cond)
        t = self.trunk(y, skip_features)
        return einsum(b, t.expand(len(b), -1, -1), "b o r, b m r -> b m o") / t.shape[-1] ** 0.5
