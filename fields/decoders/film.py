"""A sine network whose layers are scaled and shifted by the code."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.attention.pool import AttentionPooling
from fields.nn.geometry import periodic_coordinates


class FiLM(Decoder):
    r"""A sine network whose every layer is scaled and shifted by the code.

        h₀ = sin( ω W₀ e(y) + S s(y) )
        h_l = sin( (1 + γ_l(z)) ⊙ W_l h_{l−1} + β_l(z) ),    l = 1, …, L
        f(y) = W h_L

    e maps periodic axes to a circle, and s are the features of the skip path. Weights are drawn as
    for SIREN, W₀ from U(−1/n, 1/n) with n components of e and W_l from U(−√(6/h), √(6/h)), so that
    the spread of activations is the same in all layers; γ and β are initially small.

    Reference: Sitzmann et al., NeurIPS 2020, section 3.2 (sines); Perez et al., AAAI 2018, eq. 2
    (FiLM); Chan et al., CVPR 2021, eq. 2 (both).

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: modulated layers L.
        omega: ω, the largest initial frequency in radians per unit length.
        seeds: of the pooling, see :class:`~fields.nn.attention.pool.AttentionPooling`.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> pos = torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> latent = Latent(torch.randn(3, 8, 16), pos, torch.tensor([False]))
        >>> FiLM(16, schema)(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
    """

    periodic: Tensor

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        skip_features: int = 0,
        depth: int = 3,
        omega: float = 30.0,
        seeds: int = 4,
    ):
        super().__init__()
        self.omega = omega
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.pool = AttentionPooling(dim, schema, seeds=seeds)
        self.point = nn.Linear(2 * schema.dim, dim)
        self.skip_features = skip_projection(skip_features, schema, dim)
        layers = [nn.Linear(dim, dim, bias=False) for _ in range(depth)]
        self.layers = nn.ModuleList(layers)
        self.modulation = nn.Linear(dim, 2 * depth * dim)
        self.head = nn.Linear(dim, schema.out_channels)
        nn.init.uniform_(self.point.weight, -1 / (2 * schema.dim), 1 / (2 * schema.dim))
        for layer in layers:
            nn.init.uniform_(layer.weight, -math.sqrt(6 / dim), math.sqrt(6 / dim))
        with torch.no_grad():
            self.modulation.weight.mul_(0.1)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        modulation = rearrange(
            self.modulation(self.pool(latent, cond)),
            "b (two l h) -> two l b 1 h",
            two=2,
            l=len(self.layers),
        )
        h = self.omega * self.point(periodic_coordinates(y, self.periodic))
        if self.skip_features is not None:
            h = h + self.skip_features(skip_features)
        h = torch.sin(h)
        for layer, scale, shift in zip(self.layers, *modulation, strict=True):
            h = torch.sin((1 + scale) * layer(h) + shift)
        return self.head(h)
