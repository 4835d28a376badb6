"""Every input point is a token."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.encoders.base import Encoder
from fields.nn.blocks import MLP
from fields.nn.embeddings import PositionEmbedding


class PointwiseEncoder(Encoder):
    r"""No compression: one token per input point, at that point.

        zⱼ = φ(uⱼ) + P(xⱼ)

    The accuracy that a compressed code costs is measured against this encoder. Self-attention among
    n tokens costs n² in each layer, so n should be at most about 10⁴. Points without a value have
    no token. All samples of a batch need values at the same points, because tokens have no mask.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.

    Raises:
        ValueError: in ``forward``, samples that are padded.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> x, u = torch.rand(1, 50, 1) - 0.5, torch.randn(3, 50, 1)
        >>> PointwiseEncoder(16, schema)(x, u, torch.ones(1, 50) > 0).z.shape
        torch.Size([3, 50, 16])
    """

    periodic: Tensor

    def __init__(self, dim: int, schema: Schema):
        super().__init__()
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.position = PositionEmbedding(dim, schema)
        self.embed = MLP(schema.in_channels, out=dim, ratio=dim / schema.in_channels)

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values at any points to one token per point (see `Encoder`)."""
        if not bool(x_mask.all()) and len(x) == len(x_mask) == 1:
            x = x[:, x_mask[0]]
            u = u[:, x_mask[0]]
        elif not bool(x_mask.all()):
            fewest = int(x_mask.sum(-1).min())
            raise ValueError(
                "`PointwiseEncoder` needs the same number of points in every sample of a batch, "
                f"got between {fewest} and {x.shape[1]}. Use `batch_size` 1, or "
                "`CrossAttentionEncoder`."
            )
        z = self.embed(u) + self.position(x)
        return Latent(z if cond is None else z + cond[:, None], x, self.periodic)

    def num_tokens(self, points: int) -> int:
        """The number of points."""
        return points
