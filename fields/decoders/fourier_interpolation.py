"""The trigonometric polynomial through the tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Latent, Schema
from fields.decoders.base import Decoder, skip_projection
from fields.nn.embeddings import grid_points, token_counts
from fields.nn.interpolation.fourier import channel_columns, interpolation_matrix


class FourierInterpolation(Decoder):
    r"""The trigonometric polynomial whose values at the tokens' positions are the tokens.

        v(y) = Σₐ L(y, a) z(a),    L(a', a) = δ

    It is the inverse of the encoder :class:`~fields.encoders.FourierSampling`.

    Args:
        dim: token width h, the number of channels.
        schema: names and geometry of the problem.
        skip_features: features of the skip path per input channel, 0 without one; added through a
            linear map.
        tokens: anchors per axis, the same as the encoder's.
        channels: variable in each channel, the same as the encoder's; by default the outputs in
            order.

    Raises:
        ValueError: the channels are not at most ``dim`` names of variables, or do not hold every
            output; in ``forward``, another number of tokens.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), periodic=(True,), bounds=((0.0, 1.0),))
        >>> decoder = FourierInterpolation(1, schema, tokens=(8,))
        >>> pos = grid_points((8,))[None]
        >>> latent = Latent(torch.randn(3, 8, 1), pos, torch.tensor([True]))
        >>> torch.allclose(decoder(latent, pos), latent.z, atol=1e-5)
        True
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
        self.tokens = token_counts(tokens, schema)
        self.closed = schema.periodic
        held = channel_columns(
            dim, schema.outputs if channels is None else channels, schema.outputs, schema
        )
        missing = [name for column, name in enumerate(schema.outputs) if column not in held]
        if missing:
            raise ValueError(
                f"No channel of `FourierInterpolation` holds {missing}, so it cannot be decoded. "
                "Name it in `channels`."
            )
        self.columns = [held.index(column) for column in range(schema.out_channels)]
        self.register_buffer("first", grid_points(self.tokens).amin(0), persistent=False)
        self.skip_features = skip_projection(skip_features, schema, schema.out_channels)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """The field at points y (see `Decoder`)."""
        if latent.z.shape[1] != math.prod(self.tokens):
            raise ValueError(
                f"`FourierInterpolation` decodes {self.tokens} tokens, got {latent.z.shape[1]}. "
                "Give encoder and decoder the same `tokens`."
            )
        with torch.autocast(y.device.type, enabled=False):
            # Moves aligned tokens, and the queries with them, to the centers of the cells.
            lead = self.first - latent.pos.amin(1, keepdim=True)
            matrix = interpolation_matrix(y + lead, latent.pos + lead, self.tokens, self.closed)
            v = matrix.to(latent.z.dtype) @ latent.z[..., self.columns]
        return v if self.skip_features is None else v + self.skip_features(skip_features)
