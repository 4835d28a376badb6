"""A query point asks the tokens."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.attention.fused import FusedCrossAttention
from fields.nn.attention.multihead import Attention
from fields.nn.attention.nearest import NearestAttention
from fields.nn.blocks import MLP, TransformerBlock
from fields.nn.embeddings import Position


class CrossAttention(Decoder):
    r"""The field at y is a learned partition of unity over the tokens, times local trigonometric expansions.

        f(y) = W( Σᵢ αᵢ(y) R(xᵢ − y) vᵢ ),    αᵢ ≥ 0,  Σᵢ αᵢ = 1

    αᵢ is a softmax of content and a Gaussian in y − xᵢ (per head); R rotates values by relative
    position, so that each token carries a local Fourier series and not one value; W is a residual
    MLP. Every query is answered by itself. Neither the
    tokens nor the result are normalized on the way, so that the size of a field passes from tokens
    to output as it is: with LayerNorms there the default job stopped at 1.6 times the error (small
    outputs need small absolute errors).

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: number of cross-attention blocks.
        heads: attention heads.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.
        nearest: tokens that a query looks at, the nearest ones and continuously so (see
            `NearestAttention`); None: all.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        skip_features: int = 0,
        depth: int = 1,
        heads: int = 4,
        ratio: float = 2.0,
        lengths: tuple[float, float] = (0.04, 0.25),
        max_frequency: float = 8.0,
        nearest: int | None = None,
    ):
        super().__init__()

        def attention() -> Attention | NearestAttention:
            to_all = Attention(
                dim, heads=heads, lengths=lengths, max_frequency=max_frequency, rotate_values=True
            )
            return to_all if nearest is None else NearestAttention(to_all, nearest=nearest)

        self.position = Position(dim, schema)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, dim) if skip_features else None
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, attention(), ratio=ratio) for _ in range(depth)
        )
        self.head = MLP(dim, out=schema.out_channels, ratio=1.0)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        if len(self.blocks) == 1 and FusedCrossAttention.possible(
            cast(TransformerBlock, self.blocks[0])
        ):
            return self.head(self._folded(latent)(self._features(y, skip_features), y))
        q = self.position(y).expand(latent.z.shape[0], -1, -1)
        if self.skip_features is not None:
            q = q + self.skip_features(skip_features)
        for block in self.blocks:
            q = block(q, latent.z, x_q=y, x_k=latent.pos, periodic=latent.periodic)
        return self.head(q)

    def _features(self, y: Tensor, skip_features: Tensor | None) -> Float[Tensor, "#b m f"]:
        """All that is known of a query: the features of its place and what is skip_features."""
        fourier = self.position.fourier
        place = y[..., :0] if fourier is None else fourier(y[..., self.position.axes])
        return (
            place
            if skip_features is None
            else torch.cat([place.expand(len(skip_features), -1, -1), skip_features], dim=-1)
        )

    def _folded(self, latent: Latent) -> FusedCrossAttention:
        linear = [part for part in (self.position.mix, self.skip_features) if part is not None]
        bias = torch.stack([self.position.constant, *(part.bias for part in linear)]).sum(0)
        weight = torch.cat([bias.new_zeros(len(bias), 0), *(part.weight for part in linear)], dim=1)
        return FusedCrossAttention(cast(TransformerBlock, self.blocks[0]), weight, bias, latent)
