"""What every encoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.component import Component
from fields.core.sample import Latent, Schema
from fields.nn.embeddings import Position, grid_points, token_counts


class Encoder(Component, ABC):
    """Turns an input function into tokens. Constructor: ``(dim, schema, *, …)``."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values u at points x (unit coordinates, normalized values) -> tokens and their positions."""

    def fix(self, x: Float[Tensor, "#b n d"]) -> None:
        """Notes what ``forward`` finds out about the points by looking at their values, which ``torch.export`` cannot follow.

        From then on the encoder is one for these points alone.
        """

    @abstractmethod
    def num_tokens(self, points: int) -> int:
        """Number of tokens k made from so many input points."""


class Anchored(Encoder, ABC):
    """An encoder whose tokens live on a regular grid of anchors, whatever the points.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
    """

    anchors: Tensor
    periodic: Tensor

    @abstractmethod
    def __init__(self, dim: int, schema: Schema, *, tokens: tuple[int, ...] | None):
        super().__init__()
        self.tokens = token_counts(tokens, schema)
        self.register_buffer("anchors", grid_points(self.tokens), persistent=False)
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.position = Position(dim, schema)

    def num_tokens(self, points: int) -> int:
        """One per anchor."""
        return len(self.anchors)
