"""The conditional neural field: normalize, encode, process, decode, denormalize."""

from __future__ import annotations

from abc import ABC

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.allocator import concatenate_into
from fields.core.sample import Latent, Sample, Schema
from fields.data.normalizer import Normalizer
from fields.decoders.base import Decoder
from fields.encoders.base import Encoder
from fields.models.base import Operator
from fields.nn.skip import SkipMoments
from fields.processors.base import Processor

HEADS = 8  # assumed by the estimate of memory


class LatentOperator(Operator, ABC):
    """What all models with latent tokens begin with: an encoder, and an embedding of the PDE's constants.

    Args:
        schema, normalizer: the problem.
        dim: token width h.
        encoder: from input function to tokens.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, dim: int, encoder: Encoder):
        super().__init__(schema=schema, normalizer=normalizer)
        self.dim, self.encoder = dim, encoder
        self.condition = nn.Linear(len(schema.params), dim) if schema.params else None

    def tokens(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        params: Float[Tensor, "b p"],
    ) -> tuple[Latent, Float[Tensor, "b h"] | None]:
        """Input function in physical units -> the encoder's tokens and the embedding of the PDE's constants."""
        cond = (
            self.condition(self.normalizer.params(params)) if self.condition is not None else None
        )
        return self.encoder(
            self.normalizer.points(x), self.normalizer.inputs(u, params), x_mask, cond
        ), cond


class FieldOperator(LatentOperator):
    r"""An operator between functions, learned as a conditional neural field.

        z = process(encode(x, u)),    v(y) = decode(z, y | u skip_features y)

    Physical units outside, normalized units inside; no other class crosses that border.

    Args:
        schema: names, units and geometry of the problem.
        normalizer: statistics of the training split.
        dim: token width h, used here to embed the constants of the PDE.
        encoder, processor, decoder: the three parts.
        skip: the skip path from input to output, if the decoder uses one.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        dim: int,
        encoder: Encoder,
        processor: Processor,
        decoder: Decoder,
        skip: SkipMoments | None = None,
    ):
        super().__init__(schema=schema, normalizer=normalizer, dim=dim, encoder=encoder)
        self.processor, self.decoder, self.skip = processor, decoder, skip

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries and times, in physical units."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        return self.decode(latent, batch.x, batch.u, batch.x_mask, batch.y, cond, batch.params)[
            :, None
        ]

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """See `Operator`; the input is encoded once."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        given = (latent, batch.x, batch.u, batch.x_mask)
        decoded = (
            self.decode(*given, y, cond, batch.params) for y, _ in self.pieces(batch, memory)
        )
        return concatenate_into(decoded, batch.y.shape[1], dim=1)[:, None]

    def encode(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        params: Float[Tensor, "b p"],
    ) -> tuple[Latent, Float[Tensor, "b h"] | None]:
        """Input function in physical units -> processed tokens and the embedding of the PDE's constants."""
        latent, cond = self.tokens(x, u, x_mask, params)
        return self.processor(latent, cond), cond

    def decode(
        self,
        latent: Latent,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Tokens -> field at physical points y, in physical units; the skip path needs the input, scales ``params``."""
        y, skip_features = self.normalizer.points(y), None
        if self.skip is not None:
            with torch.autocast(y.device.type, enabled=False):
                skip_features = self.skip(
                    self.normalizer.points(x),
                    self.normalizer.inputs(u, params),
                    x_mask,
                    y,
                    latent.periodic,
                )
        v = self.decoder(latent, y, cond, skip_features)
        return self.normalizer.physical(v.float() if v.dtype == torch.bfloat16 else v, params)

    def decode_bytes(self, batch: Sample) -> float:
        """Scores of every head to every token, a few vectors of width h, and the skip path's weights to every input point."""
        tokens, samples = self.encoder.num_tokens(batch.x.shape[1]), len(batch.u)
        decoding = samples * (4 * HEADS * 3 * tokens + 4 * 16 * self.dim)
        skip_features = (
            0
            if self.skip is None
            else 4
            * 4
            * len(self.skip.log_length)
            * batch.x.shape[1]
            * max(len(batch.x), len(batch.y))
        )
        return float(decoding + skip_features)
