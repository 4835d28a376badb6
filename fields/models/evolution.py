"""Conditional neural fields of evolution problems: encode once, propagate the code, decode."""

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
from fields.models.latent import LatentOperator
from fields.models.propagators import Propagator
from fields.processors.base import Processor

FRAMES = 64  # times that are decoded together by default


class EvolutionOperator(LatentOperator):
    r"""The solution operator of an evolution problem, at any time and place.

        z(0) = encode(x, u),    z(t) = propagate(z(0), t),    v̂(t, y) = decode(z(t), y)

    The given frames are encoded once. The prediction at later times depends only on that code, so
    what the propagator preserves along z(t) is preserved over the whole rollout. Tests check that
    a rollout in chunks of times or queries gives the same values as one in a single chunk.

    Args:
        schema: names, units and geometry of the problem; ``dt`` is the unit of the propagator's
            time.
        normalizer: statistics of the training split.
        dim: token width h, used here to embed the constants of the PDE.
        encoder: maps the given frames to tokens.
        propagator: maps the code of the given frames to the code at a later time.
        decoder: maps tokens and a query point to the field there.

    Shape: u (b n c) with the given frames in c, t (b s) in physical units from the last given
    frame, y (b m d) -> v̂ (b s m o).

    Raises:
        ValueError: the schema has no time between frames.

    Example:
        >>> import fields, torch
        >>> model = fields.load("heat")
        >>> type(model).__name__, model.schema.dt == model.dt
        ('EvolutionOperator', True)
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
                "An EvolutionOperator needs the time `dt` between frames, but the schema has "
                "none, as for data without a time axis. Use `FieldOperator`."
            )
        self.dt = schema.dt
        self.propagator = propagator
        self.decoder = decoder

    @property
    def processor(self) -> Processor:
        """The propagator's processor, which evolves the tokens."""
        return self.propagator.processor

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predict at the batch's queries and times, in physical units."""
        return torch.cat(list(self.rollout(batch)), dim=1)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward`` in chunks of queries; the code is evolved only once."""
        return torch.cat(list(self.rollout(batch, memory=memory)), dim=1)

    def forward_at(self, batch: Sample, times: list[float]) -> Float[Tensor, "b s m o"]:
        """Compute the same as ``forward``, for physical times given as numbers."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        codes = list(self.propagator.at(latent, cond, [t / self.dt for t in times]))
        return self.decode(codes, batch.y, batch.params)

    def codes(self, batch: Sample) -> Iterator[Latent]:
        """Yield the code at each of the batch's times."""
        latent, cond = self.encode(batch.x, batch.u, batch.x_mask, batch.params)
        return self.propagator.at(latent, cond, self.times(batch.t))

    def rollout(
        self,
        batch: Sample,
        *,
        frames: int = FRAMES,
        memory: float = math.inf,
        reencode: bool = False,
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        """Yield the prediction in chunks of times, in memory independent of their number.

        Args:
            batch: inputs, queries and times.
            frames: number of times per chunk.
            memory: bytes that decoding may take; queries are decoded in chunks that fit.
            reencode: decode the last frames of each chunk at the input's points and encode them as
                the input of the next. This interrupts the latent flow, so that its invariants no
                longer hold over the rollout; a warning says so.
        """
        if reencode:
            warnings.warn(
                "A rollout with `reencode` interrupts the latent flow after each chunk, so the "
                "invariants of the flow do not hold over the rollout.",
                stacklevel=2,
            )
            yield from self._reencoded(batch, frames, memory)
            return
        codes = self.codes(batch)
        while chunk := list(itertools.islice(codes, frames)):
            decoded = (
                self.decode(chunk, y, batch.params) for y, _ in self.query_chunks(batch, memory)
            )
            yield concatenate_into(decoded, batch.y.shape[1], dim=2)

    def decode(
        self, codes: Sequence[Latent], y: Float[Tensor, "#b m d"], params: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b s m o"]:
        """Decode the codes at s times at physical points y, in physical units."""
        z = torch.stack([code.z for code in codes], dim=1)
        b, s = z.shape[:2]
        points = self.normalizer.points(y)
        if len(points) > 1:
            points = repeat(points, "b m d -> (b s) m d", s=s)
        pos = codes[0].pos
        if len(pos) > 1:
            pos = repeat(pos, "b k d -> (b s) k d", s=s)
        v = self.decoder(codes[0]._replace(z=rearrange(z, "b s k h -> (b s) k h"), pos=pos), points)
        v = v.float() if v.dtype == torch.bfloat16 else v
        return self.normalizer.physical(rearrange(v, "(b s) m o -> b s m o", b=b, s=s), params)

    def times(self, t: Float[Tensor, "#b s"]) -> list[float]:
        """Convert the physical times of a batch to frames.

        Raises:
            ValueError: the samples have different times, or the times do not ascend from 0.
        """
        if len(t) > 1 and not torch.equal(t, t[:1].expand_as(t)):
            raise ValueError(
                "The samples of one batch have different times, but they are evolved together. "
                "Put samples with equal times into a batch."
            )
        times = (t[0].double() / self.dt).tolist()
        if any(b < a for a, b in itertools.pairwise([0.0, *times])):
            raise ValueError(
                f"Times {t[0].tolist()} do not ascend from 0, the time of the last given frame. "
                "Sort them."
            )
        return cast(list[float], times)

    def decode_bytes(self, batch: Sample) -> float:
        """Estimate the memory per query: attention to all tokens at the times decoded together."""
        return len(batch.u) * min(FRAMES, batch.t.shape[-1]) * self._attention_bytes(batch)

    def _reencoded(
        self, batch: Sample, frames: int, memory: float
    ) -> Iterator[Float[Tensor, "b s m o"]]:
        history = torch.arange(1 - self.schema.history, 1, device=batch.t.device)
        now = torch.zeros_like(batch.t[:, :1])
        for t in batch.t.split(frames, dim=1):
            chunk = batch._replace(t=t - now)
            yield self.evaluate(chunk, memory)
            last = t[:, -1:] - now + self.dt * history
            if last.min() <= 0:
                raise ValueError(
                    f"Chunks of {frames} frames are too short for a history of "
                    f"{self.schema.history} frames. Use more frames per chunk."
                )
            at_input = chunk._replace(y=batch.x, y_mask=batch.x_mask, t=last)
            v = self.evaluate(at_input, memory)
            batch = batch._replace(u=advance_input(batch.u, v, self.schema))
            now = t[:, -1:]


def advance_input(
    u: Float[Tensor, "b n c"], v: Float[Tensor, "b s n o"], schema: Schema
) -> Float[Tensor, "b n c"]:
    """Compute the model's input s frames later: the last of `input_windows`."""
    return input_windows(u, v, schema)[:, -1]


def input_windows(
    u: Float[Tensor, "b n c"], v: Float[Tensor, "b s n o"], schema: Schema
) -> Float[Tensor, "b s n c"]:
    """Compute the model's inputs 1, …, s frames later, given the fields v that follow u.

    The history slides over the frames in u followed by those in v. Inputs that are not predicted
    (coefficients, geometry) keep their last values.

    Example:
        >>> schema = Schema(
        ...     coords=("x",), inputs=("u",), outputs=("u",), bounds=((0, 1),), dt=1.0, history=2
        ... )
        >>> u, v = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[[2.0]], [[3.0]]]])
        >>> input_windows(u, v, schema).tolist()
        [[[[1.0, 2.0]], [[2.0, 3.0]]]]
    """
    given = rearrange(u, "b n (q c) -> b q n c", q=schema.history)
    later = given[:, -1:].repeat(1, v.shape[1], 1, 1)
    states = [schema.inputs.index(name) for name in schema.outputs]
    later[..., states] = v.to(later.dtype)
    frames = torch.cat([given, later], dim=1)[:, 1:]
    return rearrange(frames.unfold(1, schema.history, 1), "b s n c q -> b s n (q c)")
