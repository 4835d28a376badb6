"""What every complete model is: our fields and other people's baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.allocator import raise_malloc_threshold
from fields.core.component import Component
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer


class Draws(NamedTuple):
    """How many answers to draw, and what to say of them."""

    samples: int
    quantiles: tuple[float, ...]
    seed: int


class Operator(Component, ABC):
    """A map between functions with a schema and a normalizer; everything physical outside, normalized inside."""

    def __init__(self, *, schema: Schema, normalizer: Normalizer):
        super().__init__()
        raise_malloc_threshold()
        self.schema, self.normalizer = schema, normalizer

    @abstractmethod
    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Predictions at the batch's queries and times, in physical units."""

    def predict(
        self,
        ds: xr.Dataset,
        *,
        at: Mapping[str, Any] | None = None,
        times: Sequence[float] | None = None,
        batch_size: int = 16,
        memory: float = 1e9,
        symmetries: Sequence[Mapping[str, Sequence[str]]] = (),
        samples: int | None = None,
        quantiles: Sequence[float] = (0.05, 0.95),
        seed: int = 0,
    ) -> xr.Dataset:
        """Predicted fields for every sample of ``ds``, at its own points or at others.

        Args:
            ds: the schema's inputs and coordinates, in physical units.
            at: other points: ``{"x": xs, "y": ys}`` with 1-D arrays for a grid, or with DataArrays
                over one common dim for scattered points.
            times: of evolution problems, in physical units from the last given frame, ascending; by
                default those of the frames that ``ds`` stores after its first ones, which are what
                is given, or else one frame later.
            batch_size: samples at a time.
            memory: bytes that one pass may take; queries are decoded in chunks that fit.
            symmetries: average over the group that these generators span (see
                ``fields.data.symmetry``).
            samples: draw so many answers, from dropout or from the members of an ensemble (see
                ``fields.models.ensemble``); the result then holds their mean under the output's
                name and their quantiles beside it, such as ``u_q05``.
            quantiles: which.
            seed: of the draws.

        Returns:
            A dataset with the schema's outputs, coordinates and units; with a time axis for
            evolution problems.

        Raises:
            DataError: a variable or coordinate is missing, a value is not finite, or a point lies
                outside the trained domain.
        """
        from fields.inference.predict import (
            predict,  # xarray wrapping lives beside the readers, not in the model
        )

        return predict(
            self,
            ds,
            at=at,
            times=times,
            batch_size=batch_size,
            memory=memory,
            symmetries=symmetries,
            draws=None if samples is None else Draws(samples, tuple(quantiles), seed),
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes ``model.safetensors``, ``config.json`` and ``README.md`` into a folder, as the Hugging Face hub has them."""
        from fields.checkpoints.hub import save_pretrained

        return save_pretrained(self, folder)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Uploads the same to ``org/name`` on the hub; see :func:`fields.checkpoints.hub.push_to_hub`."""
        from fields.checkpoints.hub import push_to_hub

        return push_to_hub(self, repo, **options)

    def evaluate(self, batch: Sample, memory: float) -> Float[Tensor, "b s m o"]:
        """``forward``, with the queries in pieces that decode within ``memory`` bytes."""
        return torch.cat(
            [self(batch._replace(y=y, y_mask=mask)) for y, mask in self.pieces(batch, memory)],
            dim=2,
        )

    def pieces(
        self, batch: Sample, memory: float
    ) -> Iterator[tuple[Float[Tensor, "#b m d"], Bool[Tensor, "#b m"]]]:
        """The queries and their mask, cut so that each piece decodes within ``memory`` bytes."""
        size = max(1, int(min(memory / self.decode_bytes(batch), batch.y.shape[1])))
        yield from zip(batch.y.split(size, dim=1), batch.y_mask.split(size, dim=1), strict=True)

    def decode_bytes(self, batch: Sample) -> float:
        """Estimated memory that one query point of the whole batch takes while decoding; decides the chunks of ``predict``."""
        return 4096.0 * len(batch.u)


def to_device(batch: Sample, device: torch.device) -> Sample:
    """The same sample on another device."""
    return Sample(*(part.to(device) for part in batch))
