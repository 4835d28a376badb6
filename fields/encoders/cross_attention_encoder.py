"""Any point set becomes tokens at anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.nn.attention.multihead import Attention
from fields.nn.attention.quadrature import WeightedAttention
from fields.nn.blocks import MLP, TransformerBlock


class Channels:
    """Where certain variables, and the quadrature weights, are among the input channels."""

    def __init__(self, schema: Schema, names: Sequence[str]):
        stacked = list(schema.inputs * schema.history)
        self.chosen = [
            c for c, name in enumerate(stacked) if name in names and name != schema.weight
        ]
        self.weight = (
            None if schema.weight is None else len(stacked) - 1 - stacked[::-1].index(schema.weight)
        )
        self.count, self.all = len(self.chosen), len(self.chosen) == len(stacked)

    def __call__(self, u: Float[Tensor, "b n c"]) -> Float[Tensor, "b n e"]:
        """The values of these variables."""
        return u if self.all else u[..., self.chosen]

    def weighted(
        self, source: Float[Tensor, "b n h"], u: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b n e"]:
        """``source`` with log w as its last channel, if there are weights."""
        if self.weight is None:
            return source
        log_weight = (
            u[..., self.weight : self.weight + 1].clamp_min(torch.finfo(torch.float32).tiny).log()
        )
        return torch.cat([source.to(u.dtype), log_weight], dim=-1)


def reader(
    dim: int,
    schema: Schema,
    names: Sequence[str],
    counts: tuple[int, ...],
    *,
    heads: int,
    reach: tuple[float, float],
) -> tuple[Channels, MLP, TransformerBlock]:
    """What reads these variables, embeds their values, and lets anchors gather them; Gaussian lengths in anchor spacings."""
    read, spacing = Channels(schema, names), 1 / max(counts)
    lengths = (reach[0] * spacing, reach[1] * spacing)
    embed = MLP(read.count, out=dim, ratio=dim / read.count)
    attention = Attention(
        dim, heads=heads, lengths=lengths, max_frequency=max(counts), rotate_values=True
    )
    if schema.weight is not None:
        return read, embed, TransformerBlock(dim, WeightedAttention(attention))
    return read, embed, TransformerBlock(dim, attention, dim_source=dim)


class CrossAttentionEncoder(Anchored):
    r"""Anchors on a regular grid gather the input function by a learned, normalized kernel integral.

        z(a) = Σⱼ α(a, xⱼ) R(xⱼ − a) φ(uⱼ) ≈ ∫ κ(a, x) R(x − a) φ(u(x)) dx / ∫ κ(a, x) dx,    κ = exp(score)

    The weights α are a softmax over the input points, Gaussian around the anchor times a content
    factor: a mean, not a sum, so that refining the sampling changes the result only by the
    quadrature error. R rotates values by relative position, which gives every anchor local Fourier
    moments of the input rather than its average alone. Where the schema names quadrature weights
    wⱼ, α ∝ wⱼ κ: a cloud that is denser in one part of the domain then gives the tokens of an even
    one. Every head has
    queries, range and values of its own: points are routed to the tokens head by head.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        tokens: tuple[int, ...] | None = None,
        heads: int = 4,
        reach: tuple[float, float] = (0.35, 1.0),
    ):
        super().__init__(dim, schema, tokens=tokens)
        self.read, self.embed, self.gather = reader(
            dim, schema, schema.inputs, self.tokens, heads=heads, reach=reach
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
        source = self.read.weighted(self.embed(self.read(u)), u)
        z = self.gather(z, source, x_q=anchors, x_k=x, periodic=self.periodic, mask=x_mask)
        return Latent(z, anchors, self.periodic)
