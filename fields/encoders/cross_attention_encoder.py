"""Anchors attend to the input points."""

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


class InputChannels:
    """Selects variables, and the quadrature weights, from the input channels.

    Args:
        schema: gives the order of the channels (all variables of a frame, frame after frame).
        names: the variables to select; the quadrature weights are never among them.

    Example:
        >>> schema = Schema(("x",), ("a", "w"), ("u",), bounds=((0.0, 1.0),), weight="w")
        >>> channels = InputChannels(schema, ["a", "w"])
        >>> channels.chosen, channels.weight
        ([0], 1)
    """

    def __init__(self, schema: Schema, names: Sequence[str]):
        stacked = list(schema.inputs * schema.history)
        self.chosen = [
            channel
            for channel, name in enumerate(stacked)
            if name in names and name != schema.weight
        ]
        self.weight = None
        if schema.weight is not None:
            # Of the last frame.
            self.weight = len(stacked) - 1 - stacked[::-1].index(schema.weight)
        self.count = len(self.chosen)
        self.all = self.count == len(stacked)

    def __call__(self, u: Float[Tensor, "b n c"]) -> Float[Tensor, "b n e"]:
        """The values of the selected variables."""
        return u if self.all else u[..., self.chosen]

    def append_log_weight(
        self, source: Float[Tensor, "b n h"], u: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b n e"]:
        """``source`` with log w as its last channel if there are quadrature weights w."""
        if self.weight is None:
            return source
        weight = u[..., self.weight : self.weight + 1]
        log_weight = weight.clamp_min(torch.finfo(torch.float32).tiny).log()
        return torch.cat([source.to(u.dtype), log_weight], dim=-1)


def gather_block(
    dim: int,
    schema: Schema,
    names: Sequence[str],
    tokens: tuple[int, ...],
    *,
    heads: int,
    reach: tuple[float, float],
) -> tuple[InputChannels, MLP, TransformerBlock]:
    """What anchors need to gather some variables: their channels, an embedding, an attention block.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        names: the variables.
        tokens: anchors per axis.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.
    """
    channels = InputChannels(schema, names)
    spacing = 1 / max(tokens)
    lengths = (reach[0] * spacing, reach[1] * spacing)
    embed = MLP(channels.count, out=dim, ratio=dim / channels.count)
    attention = Attention(
        dim, heads=heads, lengths=lengths, max_frequency=max(tokens), rotate_values=True
    )
    if schema.weight is not None:
        return channels, embed, TransformerBlock(dim, WeightedAttention(attention))
    return channels, embed, TransformerBlock(dim, attention, dim_source=dim)


class CrossAttentionEncoder(Anchored):
    r"""Anchors on a regular grid gather the input function by a learned, normalized integral.

        z(a) = Σⱼ α(a, xⱼ) R(xⱼ − a) φ(uⱼ) ≈ ∫ κ(a, x) R(x − a) φ(u(x)) dx / ∫ κ(a, x) dx

    The weights α are a softmax over the input points of the score log κ, which is a Gaussian around
    the anchor times a content factor. They form a mean and not a sum, so that refining the sampling
    changes the result only by the quadrature error. R rotates values by relative position, which
    gives every anchor local Fourier moments of the input and not only its average. If the schema
    names quadrature weights wⱼ, then α ∝ wⱼ κ: points that are denser in one part of the domain
    give the tokens of evenly distributed ones. Every head has queries, a range and values of its
    own. Any number of points is read, and samples may be padded or miss values.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
        heads: attention heads.
        reach: Gaussian lengths of the first and last head, in anchor spacings.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> x, u = torch.rand(3, 50, 1) - 0.5, torch.randn(3, 50, 1)
        >>> CrossAttentionEncoder(16, schema, tokens=(8,))(x, u, torch.ones(3, 50) > 0).z.shape
        torch.Size([3, 8, 16])
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
        self.read, self.embed, self.gather = gather_block(
            dim, schema, schema.inputs, self.tokens, heads=heads, reach=reach
        )

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points to one token per anchor (see `Encoder`)."""
        anchors = self.anchors[None].to(x.dtype)
        z = self.position(anchors).expand(u.shape[0], -1, -1)
        z = z if cond is None else z + cond[:, None]
        source = self.read.append_log_weight(self.embed(self.read(u)), u)
        z = self.gather(z, source, x_q=anchors, x_k=x, periodic=self.periodic, mask=x_mask)
        return Latent(z, anchors, self.periodic)
