"""Any point set becomes tokens at anchors."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.encoders.base import Encoder
from fields.nn.attention import Attention
from fields.nn.blocks import MLP, Block
from fields.nn.embeddings import Position, grid_points, token_counts
from fields.sample import Latent, Schema


class Points(Encoder):
    r"""Anchors on a regular grid gather the input function by a learned, normalised kernel integral.

        z(a) = Σⱼ α(a, xⱼ) R(xⱼ − a) φ(uⱼ) ≈ ∫ κ(a, x) R(x − a) φ(u(x)) dx / ∫ κ(a, x) dx,    κ = exp(score)

    The weights α are a softmax over the input points, Gaussian around the anchor times a content factor: a mean, not a sum, so
    that refining the sampling changes the result only by the quadrature error. R rotates values by relative position, which
    gives every anchor local Fourier moments of the input rather than its average alone.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.
    """

    anchors: Tensor
    periodic: Tensor

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        tokens: tuple[int, ...] | None = None,
        heads: int = 4,
        reach: tuple[float, float] = (0.35, 1.0),
    ):
        super().__init__()
        counts = token_counts(tokens, schema)
        spacing = 1 / max(counts)
        self.register_buffer("anchors", grid_points(counts), persistent=False)
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.position = Position(dim, schema)
        self.embed = MLP(schema.in_channels, out=dim, ratio=dim / schema.in_channels)
        self.gather = Block(
            dim,
            Attention(
                dim,
                heads=heads,
                lengths=(reach[0] * spacing, reach[1] * spacing),
                max_frequency=max(counts),
                rotate_values=True,
            ),
            dim_source=dim,
        )

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points -> one token per anchor."""
        anchors = self.anchors[None].to(x.dtype)
        z = self.position(anchors).expand(u.shape[0], -1, -1)
        z = z if cond is None else z + cond[:, None]
        z = self.gather(z, self.embed(u), x_q=anchors, x_k=x, periodic=self.periodic, mask=x_mask)
        return Latent(z, anchors, self.periodic)

    def num_tokens(self, points: int) -> int:
        """One per anchor, whatever the points."""
        return len(self.anchors)
