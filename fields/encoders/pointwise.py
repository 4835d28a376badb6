"""Every input point is a token."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.encoders.base import Encoder
from fields.nn.blocks import MLP
from fields.nn.embeddings import Position


class PointwiseEncoder(Encoder):
    r"""Nothing is compressed: one token per input point, where the point is.

        zⱼ = φ(uⱼ) + P(xⱼ)

    What a compressed code costs in accuracy is measured against this one. Self-attention among n
    tokens costs n² each layer; n up to about 10⁴. All samples need equally many points: tokens
    carry no mask.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
    """

    periodic: Tensor

    def __init__(self, dim: int, schema: Schema):
        super().__init__()
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.position = Position(dim, schema)
        self.embed = MLP(schema.in_channels, out=dim, ratio=dim / schema.in_channels)

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points -> one token per point."""
        if not bool(x_mask.all()):
            raise ValueError(
                f"`PointwiseEncoder` needs equally many points in every sample of a batch, got between {int(x_mask.sum(-1).min())} and "
                f"{x.shape[1]}. Use `batch_size` 1, or the `CrossAttentionEncoder` encoder."
            )
        z = self.embed(u) + self.position(x)
        return Latent(z if cond is None else z + cond[:, None], x, self.periodic)

    def num_tokens(self, points: int) -> int:
        """One per point."""
        return points
