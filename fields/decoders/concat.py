"""A network of the point with the code as a further input."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.attention.pool import AttentionPooling
from fields.nn.embeddings import FourierFeatures


class Concat(Decoder):
    r"""A network of the concatenated point, code and features s of the skip path.

        f(y) = MLP( [γ(y), z, s(y)] )

    γ are Fourier features, periodic where the axis is; z is one code pooled from the tokens. The
    first layer is linear in the concatenation, so the part that multiplies the code is computed
    once per field and not once per query.

    Reference: Park et al., DeepSDF, CVPR 2019, eq. 4.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: hidden layers after the first.
        seeds: of the pooling, see :class:`~fields.nn.attention.pool.AttentionPooling`.

    Example:
        >>> import torch
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> Concat(16, schema)(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
    """

    def __init__(
        self, dim: int, schema: Schema, *, skip_features: int = 0, depth: int = 3, seeds: int = 4
    ):
        super().__init__()
        self.pool = AttentionPooling(dim, schema, seeds=seeds)
        self.fourier = FourierFeatures(schema.periodic)
        self.point = nn.Linear(self.fourier.dim, dim)
        self.code = nn.Linear(dim, dim, bias=False)
        self.skip_features = skip_projection(skip_features, schema, dim)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.head = nn.Linear(dim, schema.out_channels)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        q = self.point(self.fourier(y)) + self.code(self.pool(latent, cond))[:, None]
        q = q if self.skip_features is None else q + self.skip_features(skip_features)
        for layer in self.layers:
            q = q + layer(F.gelu(q))
        return self.head(F.gelu(q))
