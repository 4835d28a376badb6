"""A hypernetwork: the code determines the weights of a network of the point."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.attention.pool import AttentionPooling
from fields.nn.embeddings import FourierFeatures


class Hyper(Decoder):
    r"""Every field is a small network of its own, whose weights are linear in the code.

        f(y) = W₃ σ( W₂ σ( W₁ [γ(y), s(y)] + b₁ ) + b₂ ) + b₃,    (W, b)(z) = A z + a

    γ are Fourier features and s the features of the skip path. a is drawn like the weights of an
    ordinary network and A is initially small, so that all fields start from nearly the same
    network.

    Reference: Ha, Dai & Le, ICLR 2017; Sitzmann, Zollhöfer & Wetzstein, NeurIPS 2019, eq. 5.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        width: of the two hidden layers of each field's network; A has about dim·width·(width +
            features) entries.
        seeds: of the pooling, see :class:`~fields.nn.attention.pool.AttentionPooling`.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> Hyper(16, schema)(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
    """

    def __init__(
        self, dim: int, schema: Schema, *, skip_features: int = 0, width: int = 32, seeds: int = 4
    ):
        super().__init__()
        self.pool = AttentionPooling(dim, schema, seeds=seeds)
        self.fourier = FourierFeatures(schema.periodic)
        sizes = (
            self.fourier.dim + skip_features * schema.in_channels,
            width,
            width,
            schema.out_channels,
        )
        self.shapes = [shape for e, w in pairwise(sizes) for shape in ((e, w), (1, w))]
        drawn = [
            torch.empty(e, w).uniform_(-1, 1) * (3 / e) ** 0.5 if e > 1 else torch.zeros(1, w)
            for e, w in self.shapes
        ]
        self.norm = nn.LayerNorm(dim)
        self.weights = nn.Linear(dim, sum(d.numel() for d in drawn))
        with torch.no_grad():
            self.weights.bias.copy_(torch.cat([d.flatten() for d in drawn]))
            self.weights.weight.mul_(0.1)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        flat = self.weights(self.norm(self.pool(latent, cond)))
        parts = flat.split([e * w for e, w in self.shapes], dim=-1)
        made = [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        h = self.fourier(y).expand(len(flat), -1, -1)
        h = h if skip_features is None else torch.cat([h, skip_features], dim=-1)
        for layer, (weight, bias) in enumerate(zip(made[::2], made[1::2], strict=True)):
            h = (F.gelu(h) if layer else h) @ weight + bias
        return h
