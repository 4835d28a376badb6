"""What every processor is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from fields.core.component import Component
from fields.core.sample import Latent


class Processor(Component, ABC):
    """Evolves tokens. Constructor: ``(dim, *, …)`` with ``dim`` the token width; commutes with permutations of tokens."""

    @abstractmethod
    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """Tokens in, tokens out, positions unchanged. With times ``t`` the result is stacked: z (b·s k h), s fastest."""
