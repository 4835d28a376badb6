"""The contract of every encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fields.core.component import Component
from fields.core.sample import Latent, Schema
from fields.nn.embeddings import PositionEmbedding, grid_points, token_counts


class Encoder(Component, ABC):
    r"""Maps an input function, given by its values at points, to tokens.

        {(xⱼ, uⱼ)} ↦ {(zᵢ, aᵢ)},    i = 1, …, k

    Constructor: ``(dim, schema, *, ...)`` with the token width h and the names and geometry of the
    problem. Every further argument is keyword-only and has a default; it is a number, a string, a
    tuple of these, or a component, so that a checkpoint can describe it.

    What the conformance tests check for every encoder in ``fields.encoders``:

    - Tokens z have shape (b k h), their positions a (1 k d) or (b k d) in unit coordinates, with
      k = ``num_tokens(n)``; the type is that of the input. Gradients reach every parameter.
    - Samples do not influence each other.
    - The order of the input points does not matter: tokens at fixed anchors stay the same, and
      tokens at the input points are reordered with them.
    - Positions matter: the same values at other points are another function. Periodic axes are
      closed: a point moved by a whole period, which is 1, is the same point.
    - Padding (``x_mask`` False) has no influence, whatever its values are.
    - Input that an encoder cannot read (scattered points where it needs a grid, padded samples,
      other points than those it was built for) raises a ValueError that names an alternative. The
      regular training grid of the schema can be read by every encoder.
    - ``describe``, ``build`` and ``state_dict`` reproduce the encoder.

    ``cond`` is the embedding of the constants of the PDE. An encoder may ignore it: decoders and
    processors receive it too.

    Example:
        >>> from fields.encoders.windowed_moments import WindowedMoments
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> encoder: Encoder = WindowedMoments(16, schema, tokens=(8,))
        >>> x = torch.linspace(-0.5, 0.5, 32).reshape(1, 32, 1)
        >>> encoder(x, torch.randn(2, 32, 1), torch.ones(1, 32, dtype=torch.bool)).z.shape
        torch.Size([2, 8, 16])
    """

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Encodes one batch.

        Args:
            x: points in unit coordinates; b = 1 if all samples share them.
            u: normalized values there, c = inputs · history.
            x_mask: True where a point is real, False where it is padding.
            cond: embedding of the constants of the PDE, if there are any.

        Returns:
            Tokens, their positions, and which axes are periodic.
        """

    def check(self, x: Float[Tensor, "n d"]) -> None:
        """Refuse points, in unit coordinates, that the encoder would read wrongly.

        It is asked once per dataset, because the check may be slow. Most encoders read any points
        and do nothing.

        Raises:
            ValueError: the encoder needs other points; the message names an alternative.
        """

    def fix(self, x: Float[Tensor, "#b n d"]) -> None:
        """Stores what ``forward`` derives from the values of the points, for ``torch.export``.

        Control flow that depends on values cannot be exported. An encoder that has some overrides
        this method; from then on it only reads these points. The others do nothing.
        """

    @abstractmethod
    def num_tokens(self, points: int) -> int:
        """Number of tokens k for this many input points."""


class Anchored(Encoder, ABC):
    """An encoder whose tokens are at a regular grid of anchors, whatever the input points.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.

    Example:
        >>> from fields.encoders.windowed_moments import WindowedMoments
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> encoder: Anchored = WindowedMoments(16, schema, tokens=(8,))
        >>> encoder.anchors.shape, encoder.num_tokens(1000)
        (torch.Size([8, 1]), 8)
    """

    anchors: Tensor
    periodic: Tensor

    @abstractmethod
    def __init__(self, dim: int, schema: Schema, *, tokens: tuple[int, ...] | None):
        super().__init__()
        self.tokens = token_counts(tokens, schema)
        self.register_buffer("anchors", grid_points(self.tokens), persistent=False)
        self.register_buffer("periodic", torch.tensor(schema.periodic), persistent=False)
        self.position = PositionEmbedding(dim, schema)

    def num_tokens(self, points: int) -> int:
        """The number of anchors."""
        return len(self.anchors)
