"""The common base of the models that encode their input to latent tokens."""

from __future__ import annotations

from abc import ABC

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Sample, Schema
from fields.data.normalizer import Normalizer
from fields.encoders.base import Encoder
from fields.models.base import Operator

HEADS = 8  # assumed when the memory of attention is estimated


class LatentOperator(Operator, ABC):
    r"""An operator that begins with an encoder: z₀ = encode(x, u), c = W p.

    The embedding c of the PDE's constants conditions the later parts. It is absent if the schema
    has no parameters.

    Args:
        schema: names, units and geometry of the problem.
        normalizer: statistics of the training split.
        dim: token width h, here that of the embedding.
        encoder: maps the input function to tokens.

    Shape: x (b n d), u (b n c), params (b p) -> tokens z (b k h) and embedding (b h).

    Example:
        >>> import fields, torch
        >>> model = fields.load("burgers")
        >>> x = torch.arange(64)[None, :, None] / 64
        >>> mask = torch.ones(1, 64, dtype=torch.bool)
        >>> latent, cond = model.encode(x, torch.cos(6.283185 * x), mask, torch.zeros(1, 0))
        >>> latent.z.shape[-1] == model.dim, cond
        (True, None)
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, dim: int, encoder: Encoder):
        super().__init__(schema=schema, normalizer=normalizer)
        self.dim = dim
        self.encoder = encoder
        self.condition = nn.Linear(len(schema.params), dim) if schema.params else None

    def encode(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        params: Float[Tensor, "b p"],
    ) -> tuple[Latent, Float[Tensor, "b h"] | None]:
        """Map an input function in physical units to tokens and the embedding of the constants."""
        cond = None
        if self.condition is not None:
            cond = self.condition(self.normalizer.params(params))
        points = self.normalizer.points(x)
        values = self.normalizer.masked_inputs(u, x_mask, params)
        return self.encoder(points, values, x_mask, cond), cond

    def check_points(self, x: Float[Tensor, "n d"]) -> None:
        """Ask the encoder whether it can read these physical points; see `Encoder.check`."""
        self.encoder.check(self.normalizer.points(x))

    def fix_points(self, x: Float[Tensor, "#b n d"]) -> None:
        """Restrict the encoder to inputs at these physical points; see `Encoder.fix`."""
        self.encoder.fix(self.normalizer.points(x))

    def _attention_bytes(self, batch: Sample) -> float:
        """Estimate what decoding one query of one sample takes: scores and vectors of width h."""
        tokens = self.encoder.num_tokens(batch.x.shape[1])
        return 4.0 * HEADS * 3 * tokens + 4.0 * 16 * self.dim
