"""Waves between nodes and edges: what every form of the graph Hamiltonian shares."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, EnergyField
from fields.nn.graph.incidence import Coboundary


class WaveField(EnergyField):
    """State x = (q on n nodes, p on m edges) and a skew operator L = [[0, −Dᵀ], [D, 0]] in the coordinates that ``to_frame`` gives.

    ``from_frame`` is the inverse change of coordinates. Whatever D is, a step of the form x₁ − x =
    h L xₘ keeps |x|² there. In these coordinates channels are split into the heads of D.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    @abstractmethod
    def split(
        self, state: Float[Tensor, "b k s"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p."""

    @abstractmethod
    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D at these tokens."""

    @abstractmethod
    def to_frame(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, and q and p in the coordinates in which it acts."""

    @abstractmethod
    def from_frame(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """q and p back in their own coordinates, as one state."""

    def project(self, state: Float[Tensor, "b k s"]) -> Float[Tensor, "b n h"]:
        """The tokens."""
        return self.split(state)[0]

    def energy(
        self, state: Float[Tensor, "b k s"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|x|² in the coordinates of D."""
        _, q, p = self.to_frame(state, context)
        return 0.5 * torch.cat([q, p], dim=2).square().sum((-3, -2, -1))

    def skew(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Tensor, Tensor]:
        """D and, in its coordinates, the two halves of L x = (−Dᵀ p, D q)."""
        d, q, p = self.to_frame(state, context)
        return d, -d.down(p), d.up(q)
