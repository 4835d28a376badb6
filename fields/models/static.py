"""The conditional neural field: normalize, encode, process, decode, denormalize."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.allocator import concatenate_into
from fields.core.sample import Latent, Sample, Schema
from fields.data.normalizer import Normalizer
from fields.decoders.base import Decoder
from fields.encoders.base import Encoder
from fields.models.latent import LatentOperator
from fields.nn.skip import SkipMoments
from fields.processors.base import Processor


class FieldOperator(LatentOperator):
    r"""An operator between functions without time, learned as a conditional neural field.

        z = process(encode(x, u)),    v̂(y) = decode(z, y, skip(x, u, y))

    Physical units outside, normalized units inside. The queries y are independent of each other, so
    that decoding them in chunks gives the same values. Tests check this, and that neither the
    order of the input points nor that of the tokens matters.

    Args:
        schema: names, units and geometry of the problem.
        normalizer: statistics of the training split.
        dim: token width h, used here to embed the constants of the PDE.
        encoder: maps the input function to tokens.
        processor: maps tokens to tokens.
        decoder: maps tokens and a query point to the field there.
        skip: local averages of the input at the query points, if the decoder takes them.

    Shape: x (b n d), u (b n c), y (b m d) -> v̂ (b 1 m o).

    Example:
        >>> import fields, torch
        >>> model = fields.load("burgers")
        >>> x = torch.arange(64)[None, :, None] / 64
        >>> mask = torch.ones(1, 64, dtype=torch.bool)
        >>> u, params = torch.cos(6.283185 * x), torch.zeros(1, 0)
        >>> latent, cond = model.encode(x, u, mask, params)
        >>> y = torch.rand(1, 7, 1)
        >>> model.decode(model.processor(latent, cond), x, u, mask, y, cond, params).shape
        torch.Size([1, 7, 1])
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
        self.processor = processor
        self.decoder = decoder
        self.skip = skip

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predict at the batch's queries, in physical units; s = 1."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        latent = self.processor(latent, cond)
        return self._decode_at(batch, latent, batch.y, cond)[:, None]

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward`` in chunks of queries; the input is encoded once."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        latent = self.processor(latent, cond)
        chunks = (
            self._decode_at(batch, latent, y, cond) for y, _ in self.query_chunks(batch, memory)
        )
        return concatenate_into(chunks, batch.y.shape[1], dim=1)[:, None]

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
        """Decode processed tokens at physical points y, in physical units.

        The skip path reads the input (x, u) again. ``params`` are needed where the normalizer
        scales by the constants of the PDE.
        """
        y = self.normalizer.points(y)
        skip_features = None
        if self.skip is not None:
            with torch.autocast(y.device.type, enabled=False):
                skip_features = self.skip(
                    self.normalizer.points(x),
                    self.normalizer.masked_inputs(u, x_mask, params),
                    x_mask,
                    y,
                    latent.periodic,
                )
        v = self.decoder(latent, y, cond, skip_features)
        return self.normalizer.physical(v.float() if v.dtype == torch.bfloat16 else v, params)

    def _decode_at(
        self, batch: Sample, latent: Latent, y: Tensor, cond: Tensor | None
    ) -> Float[Tensor, "b m o"]:
        return self.decode(latent, batch.x, batch.u, batch.x_mask, y, cond, batch.params)

    def decode_bytes(self, batch: Sample) -> float:
        """Estimate the memory per query: attention to all tokens, and the skip path's weights."""
        decoding = len(batch.u) * self._attention_bytes(batch)
        if self.skip is None:
            return decoding
        rows = batch.x.shape[1] * max(len(batch.x), len(batch.y))
        return decoding + 4.0 * 4 * len(self.skip.log_length) * rows
