"""Fields on a graph: positions on the tokens, momenta on soft edges, and a skew operator made of attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Law
from fields.dynamics.hamiltonian import Damping
from fields.dynamics.skew import WaveField
from fields.nn.geometry import rotate
from fields.nn.incidence import Coboundary, SoftIncidence, merge_heads, split_heads


class GraphField(WaveField):
    """State x = (q on n tokens, p on m edges), energy ½|x|², operator L(x) = [[0, −Dᵀ], [D, 0]].

    The energy has no weights and L is skew for every x: this is what lets attention change at every step, and weights at
    every layer, without touching the law. Before D acts, values are rotated by the position of their token or edge (an
    orthogonal change of frame, so no law notices), and D then depends on relative positions only.

    Args:
        dim: token width h.
        heads: operators, each on its slice of the channels.
        edges: number of latent edges, None for one per token.
        frozen: attention of the encoder's tokens instead of the moving ones.
    """

    learned_energy = False

    def __init__(self, dim: int, *, heads: int = 2, edges: int | None = None, frozen: bool = False):
        super().__init__(dim)
        self.incidence = SoftIncidence(dim, heads=heads, edges=edges)
        self.edges, self.frozen = edges, frozen

    def split(self, state: Float[Tensor, "b k s"]) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b m h"]]:
        """q and p."""
        m = state.shape[1] // 2 if self.edges is None else self.edges
        q, p = state[..., : self.dim].split([state.shape[1] - m, m], dim=1)
        return q, p

    def operator(self, q: Float[Tensor, "b n h"], context: Context = Context()) -> Coboundary:
        """D at these tokens."""
        q = context.origin if self.frozen and context.origin is not None else q
        features = context.shift(self.incidence.norm(q))
        return self.incidence(features, context.pos, context.periodic, context.distance2).to(q.dtype)

    def open(
        self, state: Float[Tensor, "b k s"], context: Context
    ) -> tuple[Coboundary, Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """D, and q and p in the rotated frame in which it acts."""
        q, p = self.split(state)
        heads = self.incidence.heads
        return self.operator(q, context), *self.turn(split_heads(q, heads), split_heads(p, heads), context)

    def close(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context
    ) -> Float[Tensor, "b k h"]:
        """q and p back in their own frame, as one state."""
        return merge_heads(torch.cat(self.turn(q, p, context, back=True), dim=2))

    def turn(
        self, q: Float[Tensor, "b heads n e"], p: Float[Tensor, "b heads m e"], context: Context, *, back: bool = False
    ) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads m e"]]:
        """Values rotated by where they are; latent edges keep theirs in the frame in which D acts."""
        if context.pos is None or context.periodic is None:
            return q, p
        turn = self.incidence.rotary(context.pos, context.periodic)
        return rotate(q, turn, back=back), rotate(p, turn, back=back) if self.edges is None else p

    def lift(self, z: Float[Tensor, "b n h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """Edges start at rest: p = 0. To start with D q would cost one more operator and gains nothing."""
        m = z.shape[1] if self.edges is None else self.edges
        return torch.cat([z, z.new_zeros(z.shape[0], m, z.shape[2])], dim=1)

    def energy(self, state: Float[Tensor, "b k s"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E = ½|q|² + ½|p|²."""
        return 0.5 * state[..., : self.dim].square().sum((-2, -1))


class GraphHamiltonian(GraphField):
    r"""Waves on an attention graph.

        dq/dt = −Dᵀ p,   dp/dt = D q,   E = ½|q|² + ½|p|²,   dE/dt = 0

    D = D(q) is the soft incidence of head and tail attention, at most √2 in norm. With a fixed energy and a
    state-dependent skew operator nothing is lost: any conservative flow is of this form with one more coordinate.

    Shape: state (b n+m h).
    """

    law = Law.ENERGY

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """L(x) x."""
        _, dq, dp = self.skew(z, context)
        return self.close(dq, dp, context)


class DoubleBracket(GraphField):
    r"""Tokens and edges exchange energy and lose it in the directions in which they move.

        dx/dt = L x − γ LᵀL x,   Lᵀ = −L,   E = ½|x|²,   dE/dt = −γ |L x|² ≤ 0

    The first term alone is the graph Hamiltonian flow; γ = 0 is that flow bit by bit.

    Args:
        dim, heads, edges, frozen: as in :class:`GraphHamiltonian`.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained.

    Reference: Gruber, Lee & Trask, NeurIPS 2023.
    """

    law = Law.DECAY

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 2,
        edges: int | None = None,
        frozen: bool = False,
        gamma: float = 0.1,
        learned: bool = True,
    ):
        super().__init__(dim, heads=heads, edges=edges, frozen=frozen)
        self.damping = Damping(gamma, learned=learned)

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """L x − γ LᵀL x."""
        d, dq, dp = self.skew(z, context)
        gamma = self.damping()
        return self.close(dq - gamma * d.down(dp), dp + gamma * d.up(dq), context)


class Friction(NamedTuple):
    """Viscosity of each node and edge, at least 0, the same for all heads."""

    nodes: Float[Tensor, "b 1 n 1"]
    edges: Float[Tensor, "b 1 m 1"]

    def heat(self, dq: Float[Tensor, "b heads n e"], dp: Float[Tensor, "b heads m e"]) -> Float[Tensor, "b k 1"]:
        """Γᵢ |(L x)ᵢ|² of each node and edge."""
        sizes = (gamma * x.square().sum((1, 3), keepdim=True) for gamma, x in zip(self, (dq, dp), strict=True))
        return torch.cat(tuple(sizes), dim=2)[:, 0]


class Metriplectic(GraphField):
    r"""A double bracket that keeps what it dissipates, as heat of each token and edge.

        dx/dt = L x − LᵀΓ(s) L x,   dsᵢ/dt = Γᵢ |(L x)ᵢ|²,   E = ½|x|² + Σ sᵢ,   S = Σ log sᵢ

    dE/dt = 0 and dS/dt = Σ Γᵢ |(L x)ᵢ|² / sᵢ ≥ 0. The heat acts back through the viscosity Γᵢ = γ sᵢᵃ / (1 + sᵢᵃ) · 2.
    It is GENERIC: with M = [[LᵀΓL, …], […, …]] positive semidefinite, M ∇E = 0 and L ∇S = 0.

    Shape: state (b n+m h+1), the last channel is s > 0.
    """

    law = Law.METRIPLECTIC

    def __init__(self, dim: int, *, heads: int = 2, edges: int | None = None, frozen: bool = False, gamma: float = 0.1):
        super().__init__(dim, heads=heads, edges=edges, frozen=frozen)
        self.damping = Damping(gamma, learned=gamma > 0)
        self.exponent = torch.nn.Parameter(torch.tensor(0.5))

    def lift(self, z: Float[Tensor, "b n h"], context: Context = Context()) -> Float[Tensor, "b k h+1"]:
        """Heat starts at one plus the mean square of a token's or an edge's channels."""
        x = super().lift(z, context)
        return torch.cat([x, 1 + x.square().mean(-1, keepdim=True)], dim=-1)

    def friction(self, state: Float[Tensor, "b k h+1"]) -> Friction:
        """Γ(s)."""
        gamma = 2 * self.damping() * torch.sigmoid(self.exponent * state[..., self.dim :].log())
        m = state.shape[1] // 2 if self.edges is None else self.edges
        return Friction(gamma[:, None, :-m], gamma[:, None, -m:])

    def energy(self, state: Float[Tensor, "b k h+1"], context: Context = Context()) -> Float[Tensor, "b"]:
        """E = ½|x|² + Σ s."""
        return super().energy(state, context) + state[..., self.dim :].sum((-2, -1))

    def entropy(self, state: Float[Tensor, "b k h+1"]) -> Float[Tensor, "b"]:
        """S = Σ log s."""
        return state[..., self.dim :].log().sum((-2, -1))

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h+1"], context: Context = Context()) -> Tensor:
        """(L x − LᵀΓL x, Γ|L x|²)."""
        d, dq, dp = self.skew(z, context)
        gamma = self.friction(z)
        x = self.close(dq - d.down(gamma.edges * dp), dp + d.up(gamma.nodes * dq), context)
        return torch.cat([x, gamma.heat(dq, dp)], dim=-1)
