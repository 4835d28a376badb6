"""Query points attend to the tokens."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.attention.fused import FusedCrossAttention
from fields.nn.attention.multihead import Attention
from fields.nn.attention.nearest import NearestAttention
from fields.nn.blocks import MLP, TransformerBlock
from fields.nn.embeddings import PositionEmbedding


class CrossAttention(Decoder):
    r"""A learned partition of unity over the tokens, times local trigonometric expansions.

        f(y) = W( Σᵢ αᵢ(y) R(xᵢ − y) vᵢ ),    αᵢ ≥ 0,  Σᵢ αᵢ = 1

    The score of the softmax αᵢ is, per head, a content term plus a Gaussian in y − xᵢ; R rotates
    values by relative position, so that each token represents a local Fourier series and not one
    value; W is a residual MLP. Neither tokens nor results are normalized, so that the amplitude of
    a field passes from tokens to output unchanged: with LayerNorms the error of the default job was
    1.6 times as large. ``cond`` is ignored.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: number of cross-attention blocks.
        heads: attention heads.
        ratio: width of the MLP in each block, in multiples of h.
        lengths: Gaussian lengths of the first and last head, in unit coordinates.
        max_frequency: largest rotation frequency, in turns per domain.
        nearest: how many of the nearest tokens a query attends to, without losing continuity (see
            :class:`~fields.nn.attention.nearest.NearestAttention`); None for all.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> CrossAttention(16, schema)(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
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

        self.position = PositionEmbedding(dim, schema)
        self.skip_features = skip_projection(skip_features, schema, dim, bias=True)
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
        """The field at points y (see `Decoder`)."""
        if len(self.blocks) == 1 and FusedCrossAttention.possible(
            cast(TransformerBlock, self.blocks[0])
        ):
            return self.head(self._fused(latent)(self._features(y, skip_features), y))
        q = self.position(y).expand(latent.z.shape[0], -1, -1)
        if self.skip_features is not None:
            q = q + self.skip_features(skip_features)
        for block in self.blocks:
            q = block(q, latent.z, x_q=y, x_k=latent.pos, periodic=latent.periodic)
        return self.head(q)

    def _features(self, y: Tensor, skip_features: Tensor | None) -> Float[Tensor, "#b m f"]:
        """Features of the query points: of their positions and of the skip path, if any."""
        fourier = self.position.fourier
        place = y[..., :0] if fourier is None else fourier(y[..., self.position.axes])
        if skip_features is None:
            return place
        return torch.cat([place.expand(len(skip_features), -1, -1), skip_features], dim=-1)

    def _fused(self, latent: Latent) -> FusedCrossAttention:
        """The first block with the linear maps in front of it multiplied into its queries."""
        linear = [part for part in (self.position.mix, self.skip_features) if part is not None]
        bias = torch.stack([self.position.constant, *(part.bias for part in linear)]).sum(0)
        weight = torch.cat([bias.new_zeros(len(bias), 0), *(part.weight for part in linear)], dim=1)
        return FusedCrossAttention(cast(TransformerBlock, self.blocks[0]), weight, bias, latent)
