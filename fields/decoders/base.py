"""What every decoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from fields.core.component import Component
from fields.core.sample import Latent


class Decoder(Component, ABC):
    """Evaluates the field that the tokens describe. Constructor: ``(dim, schema, *, …)``.

    Queries are independent of each other: decoding all points at once equals decoding them in
    chunks.
    """

    @abstractmethod
    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y (unit coordinates); ``skip_features`` holds the input function's values around each query, if used."""


class FittedDecoder(Decoder, ABC):
    """A decoder that takes a part of itself from the training outputs, before it is trained."""

    @abstractmethod
    def fit(self, y: Float[Tensor, "#b n d"], v: Float[Tensor, "b n o"]) -> None:
        """Outputs v (normalized) of all training samples at points y (unit coordinates), which they should share.

        Raises:
            ValueError: they do not.
        """
