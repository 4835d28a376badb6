"""The field through the tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder
from fields.nn.embeddings import grid_points, token_counts
from fields.nn.interpolation.fourier import columns, through_samples


class FourierInterpolation(Decoder):
    r"""The trigonometric polynomial that takes the tokens' values at their places: inverse of the encoder of this name.

        v(y) = Σₐ L(y, a) z(a),    L(a', a) = δ

    Args:
        dim: token width h, the number of channels.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; added through a
            linear map.
        tokens: anchors per axis, as the encoder's.
        channels: variable in each channel, as the encoder's; by default the outputs in order.

    Raises:
        ValueError: channels that are not ``dim`` names of variables, an output that none of them
            holds.
    """

    first: Tensor

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        skip_features: int = 0,
        tokens: tuple[int, ...] | None = None,
        channels: tuple[str, ...] | None = None,
    ):
        super().__init__()
        self.tokens, self.closed = token_counts(tokens, schema), schema.periodic
        held = columns(
            dim, schema.outputs if channels is None else channels, schema.outputs, schema
        )
        missing = [name for column, name in enumerate(schema.outputs) if column not in held]
        if missing:
            raise ValueError(
                f"No channel of `FourierInterpolation` holds {missing}, so it cannot be read. Name it in `channels`."
            )
        self.columns = [held.index(column) for column in range(schema.out_channels)]
        self.register_buffer("first", grid_points(self.tokens).amin(0), persistent=False)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, schema.out_channels, bias=False)
            if skip_features
            else None
        )

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        if latent.z.shape[1] != math.prod(self.tokens):
            got = latent.z.shape[1]
            raise ValueError(
                f"`FourierInterpolation` decodes {self.tokens} tokens, got {got}. Give encoder and decoder the same `tokens`."
            )
        with torch.autocast(y.device.type, enabled=False):
            lead = self.first - latent.pos.amin(
                1, keepdim=True
            )  # of tokens that do not lie at the centers of cells
            through = through_samples(y + lead, latent.pos + lead, self.tokens, self.closed).to(
                latent.z.dtype
            )
            v = through @ latent.z[..., self.columns]
        return v if self.skip_features is None else v + self.skip_features(skip_features)
