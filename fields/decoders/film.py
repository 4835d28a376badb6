"""The code scales and shifts the layers of a sine network."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.attention.pool import Pool
from fields.nn.geometry import embed


class FiLM(Decoder):
    r"""A sine network whose every layer is scaled and shifted by the code.

        h₀ = sin( ω W₀ e(y) + skip_features(y) ),    h_l = sin( (1 + γ_l(z)) ⊙ W_l h_{l−1} + β_l(z) ),    f(y) = W h_L

    e closes periodic axes on a circle. Weights are drawn as for SIREN, W₀ from U(−1/e, 1/e) and W_l
    from U(−√(6/h), √(6/h)), so that activations keep their spread from layer to layer; at start-up
    γ and β are small.

    Reference: Sitzmann et al., NeurIPS 2020 (sines); Perez et al., AAAI 2018 (FiLM); Chan et al.,
    CVPR 2021 (both).

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one.
        depth: modulated layers L.
        omega: ω, largest frequency at start-up in radians per unit length.
        seeds: see `Pool`.
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
        self.pool = Pool(dim, schema, seeds=seeds)
        self.point = nn.Linear(2 * schema.dim, dim)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, dim, bias=False)
            if skip_features
            else None
        )
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
        """Field at points y."""
        modulation = rearrange(
            self.modulation(self.pool(latent, cond)),
            "b (two l h) -> two l b 1 h",
            two=2,
            l=len(self.layers),
        )
        h = self.omega * self.point(embed(y, self.periodic))
        h = torch.sin(h if self.skip_features is None else h + self.skip_features(skip_features))
        for layer, scale, shift in zip(self.layers, *modulation, strict=True):
            h = torch.sin((1 + scale) * layer(h) + shift)
        return self.head(h)
