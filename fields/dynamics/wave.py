"""Waves between the nodes and edges of a graph: what all graph Hamiltonians share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, EnergyField
from fields.nn.graph.incidence import Coboundary


class WaveField(EnergyField):
    """A state x = (q on n nodes, p on m edges) with a skew operator between its halves.

        L = [[0, −Dᵀ], [D, 0]] = −Lᵀ,   E = ½|x|²   in the coordinates of ``to_frame``

    Whatever D is, a step of the form x₁ − x = h L xₘ with xₘ = ½(x + x₁) preserves |x|², because
    |x₁|² − |x|² = 2h xₘᵀL xₘ = 0. ``Cayley`` and ``EnergyScaledLeapfrog`` step any such field.

    A subclass implements ``split``, ``operator``, ``to_frame``, its inverse ``from_frame``,
    ``lift`` and ``forward``. In the coordinates of ``to_frame`` channels are split into the heads
    of D, and D depends on the nodes q only, so that it can be evaluated at a midpoint.

    Args:
        dim: token width h.

    Example:
        >>> from fields.flows import GraphHamiltonianField
        >>> field: WaveField = GraphHamiltonianField(8)
        >>> state = field.lift(torch.randn(2, 5, 8))
        >>> state.shape, field.project(state).shape
        (torch.Size([2, 10, 8]), torch.Size([2, 5, 8]))
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    @abstractmethod
    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p in their own coordinates."""

    @abstractmethod
    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D at these tokens, one matrix (m × n) for each head."""

    @abstractmethod
    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, and q and p in the coordinates in which it acts."""

    @abstractmethod
    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """The state whose ``to_frame`` is (D, q, p)."""

    def project(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b n h"]:
        """The tokens q of the state.   Shape: (b k s) -> (b n h)."""
        return self.split(state)[0]

    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|x|² in the coordinates of D."""
        _, q, p = self.to_frame(state, context)
        return 0.5 * torch.cat([q, p], dim=2).square().sum((-3, -2, -1))

    def skew(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D and, in its coordinates, the two halves of L x = (−Dᵀ p, D q)."""
        d, q, p = self.to_frame(state, context)
        return d, -d.down(p), d.up(q)
