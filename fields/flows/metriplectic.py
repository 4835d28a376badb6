r"""Metriplectic flow on a graph: waves whose dissipated energy becomes heat.

    dx/dt = L x − LᵀΓ(s) L x,   dsᵢ/dt = Γᵢ |(L x)ᵢ|²,   E = ½|x|² + Σ sᵢ,   S = Σ log sᵢ

with x = (q on tokens, p on edges), L = −Lᵀ made of attention, and s the heat of each token and
edge. The law: E is constant and S never decreases, at every step, for all step sizes and weights.
E has no weights, so it is one energy through the whole processor, in depth and in time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.dynamics.base import Context, Invariant, full_precision
from fields.flows.graph_hamiltonian import GraphWaveField
from fields.integrators.base import Integrator
from fields.integrators.cayley import cayley_rotation
from fields.nn.damping import Damping
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric
from fields.processors.block import wave_blocks
from fields.processors.stack import Stack


class Friction(NamedTuple):
    """Viscosity Γ ≥ 0 of each node and edge, the same for all heads.

    Example:
        >>> friction = Friction(torch.ones(2, 1, 5, 1), torch.ones(2, 1, 3, 1))
        >>> friction.heat(torch.randn(2, 4, 5, 2), torch.randn(2, 4, 3, 2)).shape
        torch.Size([2, 8, 1])
    """

    nodes: Float[Tensor, "b 1 n 1"]
    edges: Float[Tensor, "b 1 m 1"]

    def heat(
        self, dq: Float[Tensor, "b heads n e"], dp: Float[Tensor, "b heads m e"]
    ) -> Float[Tensor, "b k 1"]:
        """Γᵢ |(L x)ᵢ|² of each node and edge, the rate at which it heats up."""
        sizes = (
            gamma * x.square().sum((1, 3), keepdim=True)
            for gamma, x in zip(self, (dq, dp), strict=True)
        )
        return torch.cat(tuple(sizes), dim=2)[:, 0]


class MetriplecticField(GraphWaveField):
    r"""A double bracket whose dissipated energy becomes heat of each token and edge.

        dx/dt = L x − LᵀΓ(s) L x,   dsᵢ/dt = Γᵢ |(L x)ᵢ|²,   E = ½|x|² + Σ sᵢ,   S = Σ log sᵢ

    dE/dt = 0 and dS/dt = Σ Γᵢ |(L x)ᵢ|² / sᵢ ≥ 0. The heat acts back through the viscosity
    Γᵢ = 2γ sᵢᵃ / (1 + sᵢᵃ). In the form of GENERIC: M positive semidefinite, M ∇E = 0, L ∇S = 0.

    Args:
        dim: token width h.
        heads: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        edges: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        frozen: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        gamma: initial viscosity γ; learned unless 0.

    Shape: state (b n+m h+1), the last channel is s > 0.
    Reference: Gruber, Lee & Trask, NeurIPS 2023, the metriplectic bracket.

    Example:
        >>> field = MetriplecticField(8)
        >>> field(0.0, field.lift(torch.randn(2, 5, 8))).shape
        torch.Size([2, 10, 9])
    """

    law = Invariant.METRIPLECTIC

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 2,
        edges: int | None = None,
        frozen: bool = False,
        gamma: float = 0.1,
    ):
        super().__init__(dim, heads=heads, edges=edges, frozen=frozen)
        self.damping = Damping(gamma, learned=gamma > 0)
        self.exponent = torch.nn.Parameter(torch.tensor(0.5))

    def lift(
        self, z: Float[Tensor, "b n h"], context: Context = Context()
    ) -> Float[Tensor, "b k h+1"]:
        """(z, 0) with heat 1 + mean square of the channels of each token and edge."""
        x = super().lift(z, context)
        return torch.cat([x, 1 + x.square().mean(-1, keepdim=True)], dim=-1)

    def friction(self, state: Float[Tensor, "b k h+1"]) -> Friction:
        """Γ(s) of each node and edge."""
        gamma = 2 * self.damping() * torch.sigmoid(self.exponent * state[..., self.dim :].log())
        m = state.shape[1] // 2 if self.edges is None else self.edges
        return Friction(gamma[:, None, :-m], gamma[:, None, -m:])

    def energy(
        self, state: Float[Tensor, "b k h+1"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|x|² + Σ s of each sample."""
        return super().energy(state, context) + state[..., self.dim :].sum((-2, -1))

    def entropy(self, state: Float[Tensor, "b k h+1"]) -> Float[Tensor, "b"]:
        """S = Σ log s of each sample."""
        return state[..., self.dim :].log().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h+1"], context: Context = Context()
    ) -> Float[Tensor, "b k h+1"]:
        """(L x − LᵀΓL x, Γ|L x|²).   Shape: (b k h+1)."""
        d, dq, dp = self.skew(z, context)
        gamma = self.friction(z)
        x = self.from_frame(dq - d.down(gamma.edges * dp), dp + d.up(gamma.nodes * dq), context)
        return torch.cat([x, gamma.heat(dq, dp)], dim=-1)


class MetriplecticStep(Integrator):
    r"""A Cayley transform, then friction by the implicit midpoint rule whose loss is heat. Order 1.

        x ← (1 − hL/2)⁻¹ (1 + hL/2) x;   x₁ = x − h LᵀΓL xₘ,   sᵢ ← sᵢ + h Γᵢ |(L xₘ)ᵢ|²

    With R = Γ^½ on the edges, N = Γ^½ on the nodes and B = N Dᵀ, both solves are as large as the
    number of edges:

        (1 + h/2 R D Dᵀ R) w = R D q,   q₁ = q − h Dᵀ R w
        (1 + h/2 BᵀB) pₘ = p,   v = B pₘ,   p₁ = p − h Bᵀ v

    and the heat is h |v|² and h |w|².

    Proof of the law: Σ Δsᵢ = h xₘᵀLᵀΓL xₘ = −Δ½|x|², so E is exact; every Δsᵢ ≥ 0, so S never
    decreases.

    Example:
        >>> field = MetriplecticField(8).double()
        >>> x = field.lift(torch.randn(2, 5, 8).double())
        >>> y, _ = MetriplecticStep().step(field, 0.0, 3.0, x, Context(), ())
        >>> torch.allclose(field.energy(y), field.energy(x)), bool((y[..., 8] >= x[..., 8]).all())
        (True, True)
    """

    order = 1
    preserves = ((MetriplecticField, Invariant.METRIPLECTIC),)

    def step(
        self,
        field: MetriplecticField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one metriplectic step of size ``dt``.   Shape: (b k h+1)."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            gamma = field.friction(z)
            s = z[..., field.dim :]
            q, p = cayley_rotation(d, dt, q, p)
            r = gamma.edges.sqrt()
            one = identity(d.matrix.shape[-2], z)
            w = solve_symmetric(one + dt / 2 * r * gram_matrix(d.matrix) * r.mT, r * d.up(q))
            b = gamma.nodes.sqrt() * d.matrix.mT
            v = b @ solve_symmetric(one + dt / 2 * gram_matrix(b.mT), p)
            heat = torch.cat([x.square().sum((1, 3))[..., None] for x in (v, w)], dim=1)
            x = field.from_frame(q - dt * d.down(r * w), p - dt * (b.mT @ v), context)
            return torch.cat([x, s + dt * heat], dim=-1), carry


class Metriplectic(Stack):
    r"""Blocks of: rotate channels, one metriplectic step on a graph, move tokens along spheres.

        dx/dt = L x − LᵀΓ(s) L x,   dsᵢ/dt = Γᵢ |(L x)ᵢ|²,   E = ½|x|² + Σ sᵢ,   S = Σ log sᵢ

    E is constant and S never decreases, at any step of any block, in depth and in time.

    Args:
        dim: token width h.
        depth: see :class:`fields.flows.GraphHamiltonian`.
        heads: see :class:`fields.flows.GraphHamiltonian`.
        edges: see :class:`fields.flows.GraphHamiltonian`.
        frozen: see :class:`fields.flows.GraphHamiltonian`.
        ratio: see :class:`fields.flows.GraphHamiltonian`.
        h: see :class:`fields.flows.GraphHamiltonian`.
        gamma: initial viscosity; learned unless 0.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> Metriplectic(8).law.value
        'the energy is constant and the entropy never decreases'
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        heads: int = 4,
        edges: int | None = None,
        frozen: bool = False,
        ratio: float = 2.0,
        h: float = 1.0,
        gamma: float = 0.1,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> MetriplecticField:
            return MetriplecticField(dim, heads=heads, edges=edges, frozen=frozen, gamma=gamma)

        blocks = wave_blocks(dim, field, MetriplecticStep, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
