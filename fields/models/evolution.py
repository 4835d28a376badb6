"""Conditional neural fields in time."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from fields.core.allocator import concatenate_into
from fields.core.sample import Latent, Sample, Schema
from fields.data.normalizer import Normalizer
from fields.decoders.base import Decoder
from fields.encoders.base import Encoder
from fields.models.propagators import Propagator
from fields.models.static import LatentOperator
from fields.processors.base import Processor

TOGETHER = 64  # times decoded in one go


class EvolutionOperator(LatentOperator):
    r"""The solution operator of an evolution problem, at any time and place.

        z(0) = encode(u),    z(t) = propagate(z(0), t),    v(t, y) = decode(z(t), y)

    The frames given are encoded once and never looked at again: what happens later is up to the
    code alone, and what the propagator guarantees of the code holds for the whole rollout. Times
    are physical, from the last given frame.

    Args:
        schema: names, units and geometry of the problem; ``dt`` is the unit of the propagator's
            time.
        normalizer: statistics of the training split.
        dim: token width h, used here to embed the constants of the PDE.
        encoder, propagator, decoder: the three parts.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        dim: int,
        encoder: Encoder,
        propagator: Propagator,
        decoder: Decoder,
    ):
        super().__init__(schema=schema, normalizer=normalizer, dim=dim, encoder=encoder)
        if schema.dt is None:
            raise ValueError(
                "The schema has no interval `dt` between frames: these are no data in time. Use `FieldOperator`."
            )
        self.dt, self.propagator, self.decoder = schema.dt, propagator, decoder

    @property
    def processor(self) -> Processor:
        """What moves the code."""
        return self.propagator.processor

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries and times, in physical units."""
        return torch.cat(list(self.rollout(batch)), dim=1)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """See `Operator`; the input is encoded and rolled out once."""
        return torch.cat(list(self.rollout(batch, memory=memory)), dim=1)

    def codes(self, batch: Sample) -> Iterator[Latent]:
        """The code at each of the batch's times, one after the other."""
        latent, cond = self.tokens(batch.x, batch.u, batch.x_mask, batch.params)
        return self.propagator.at(latent, cond, self.times(batch.t))

    def rollout(
        self,
        batch: Sample,
        *,
        frames: int = TOGETHER,
        memory: float = math.inf,
        reencode: bool = False,
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """The same in pieces of so many times, in memory that does not grow with their number.

        Queries are decoded in pieces that take ``memory`` bytes. With ``reencode`` the last frames
        of each piece are decoded at the input's points and encoded again, which leaves the latent
        flow and with it whatever the flow guarantees; a warning says so.
        """
        if reencode:
            sentence = "A rollout that encodes its own predictions leaves the latent flow: no law of the flow holds for it."
            warnings.warn(sentence, stacklevel=2)
            yield from self._reencoded(batch, frames, memory)
            return
        codes = self.codes(batch)
        while together := list(itertools.islice(codes, frames)):
            decoded = (
                self.decode(together, y, batch.params) for y, _ in self.pieces(batch, memory)
            )
            yield concatenate_into(decoded, batch.y.shape[1], dim=2)

    def decode(
        self, codes: Sequence[Latent], y: Float[Tensor, "#b m d"], params: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b s m o"]:
        """Codes at s times -> fields at physical points y, in physical units."""
        z = torch.stack([code.z for code in codes], dim=1)
        b, s = z.shape[:2]
        points = self.normalizer.points(y)
        points = points if len(points) == 1 else repeat(points, "b m d -> (b s) m d", s=s)
        pos = (
            codes[0].pos
            if len(codes[0].pos) == 1
            else repeat(codes[0].pos, "b k d -> (b s) k d", s=s)
        )
        v = self.decoder(codes[0]._replace(z=rearrange(z, "b s k h -> (b s) k h"), pos=pos), points)
        v = rearrange(
            v.float() if v.dtype == torch.bfloat16 else v, "(b s) m o -> b s m o", b=b, s=s
        )
        return self.normalizer.physical(v, params)

    def times(self, t: Float[Tensor, "#b s"]) -> list[float]:
        """Physical times of a batch, in frames; all its samples are asked for the same ones, in ascending order."""
        if len(t) > 1 and not torch.equal(t, t[:1].expand_as(t)):
            raise ValueError(
                "The samples of one batch are asked for different times. Put samples with equal times into a batch."
            )
        times = (t[0].double() / self.dt).tolist()
        if any(b < a for a, b in itertools.pairwise([0.0, *times])):
            raise ValueError(
                f"Times {t[0].tolist()} do not ascend from 0, the time of the last given frame. Sort them."
            )
        return cast(list[float], times)

    def decode_bytes(self, batch: Sample) -> float:
        """Scores of every head to every token and a few vectors of width h, at all times that are decoded together."""
        tokens, together = (
            self.encoder.num_tokens(batch.x.shape[1]),
            min(TOGETHER, batch.t.shape[-1]),
        )
        return float(len(batch.u) * together * (4 * 8 * 3 * tokens + 4 * 16 * self.dim))

    def _reencoded(
        self, batch: Sample, frames: int, memory: float
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        now = torch.zeros_like(batch.t[:, :1])
        for t in batch.t.split(frames, dim=1):
            part = batch._replace(t=t - now)
            yield self.evaluate(part, memory)
            later = (
                t[:, -1:]
                - now
                + self.dt * torch.arange(1 - self.schema.history, 1, device=t.device)
            )
            if later.min() <= 0:
                raise ValueError(
                    f"{frames} frames a piece cannot give the history of {self.schema.history}. Take more frames."
                )
            at_input = part._replace(y=batch.x, y_mask=batch.x_mask, t=later)
            batch = batch._replace(u=renewed(batch.u, self.evaluate(at_input, memory), self.schema))
            now = t[:, -1:]


def renewed(
    u: Float[Tensor, "b n c"], v: Float[Tensor, "b s n o"], schema: Schema
) -> Float[Tensor, "b n c"]:
    """Inputs whose last frames are v: the history moves on by s frames, inputs that are no states stay."""
    return inputs_later(u, v, schema)[:, -1]


def inputs_later(
    u: Float[Tensor, "b n c"], v: Float[Tensor, "b s n o"], schema: Schema
) -> Float[Tensor, "b s n c"]:
    """What the model would have been given s frames later: windows of history along u and the frames v that follow it."""
    given = rearrange(u, "b n (q c) -> b q n c", q=schema.history)
    later = given[:, -1:].repeat(1, v.shape[1], 1, 1)
    states = [schema.inputs.index(name) for name in schema.outputs]
    later[..., states] = v.to(later.dtype)
    frames = torch.cat([given, later], dim=1)[:, 1:]
    return rearrange(frames.unfold(1, schema.history, 1), "b s n c q -> b s n (q c)")
