"""What every encoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool, Float
from torch import Tensor

from fields.part import Part
from fields.sample import Latent


class Encoder(Part, ABC):
    """Turns an input function into tokens. Constructor: ``(dim, schema, *, …)``."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values u at points x (unit coordinates, normalised values) -> tokens and their positions."""

    def fix(self, x: Float[Tensor, "#b n d"]) -> None:
        """Notes what ``forward`` finds out about the points by looking at their values, which ``torch.export`` cannot follow.

        From then on the encoder is one for these points alone.
        """

    @abstractmethod
    def num_tokens(self, points: int) -> int:
        """Number of tokens k made from so many input points."""
