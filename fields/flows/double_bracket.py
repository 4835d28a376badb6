"""Fields on a graph: positions on the tokens, momenta on soft edges, and a skew operator made of attention."""

from __future__ import annotations

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


class DoubleBracketField(GraphWaveField):
    r"""Tokens and edges exchange energy and lose it in the directions in which they move.

        dx/dt = L x − γ LᵀL x,   Lᵀ = −L,   E = ½|x|²,   dE/dt = −γ |L x|² ≤ 0

    The first term alone is the graph Hamiltonian flow; γ = 0 is that flow bit by bit.

    Args:
        dim, heads, edges, frozen: as in :class:`GraphHamiltonian`.
        gamma: damping γ, the initial value if learned.
        learned: whether γ is trained.

    Reference: Gruber, Lee & Trask, NeurIPS 2023.
    """

    law = Invariant.DECAY

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

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """L x − γ LᵀL x."""
        d, dq, dp = self.skew(z, context)
        gamma = self.damping()
        return self.from_frame(dq - gamma * d.down(dp), dp + gamma * d.up(dq), context)


class SplitBracket(Integrator):
    r"""Cayley, then one explicit step down:   x ← x − c LᵀL x,   c = min(hγ, 1).

    E₁ − E = −c |L x|² + c²/2 |LᵀL x|² ≤ 0 for c ≤ 1, because |L|² ≤ 2. One solve.
    """

    order = 1
    preserves = ((DoubleBracketField, Invariant.DECAY),)

    def step(self, field: DoubleBracketField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            q, p = cayley_rotation(d, dt, q, p)
            c = (dt * field.damping()).clamp(max=1)
            return field.from_frame(
                q - c * d.down(d.up(q)), p - c * d.up(d.down(p)), context
            ), carry


class CoupledBracket(Integrator):
    r"""Implicit midpoint of both brackets with D frozen over the step.

        [(1 + cG)² + h²/4 G] pₘ = (1 + cG) p + h/2 D q,   G = D Dᵀ,   c = hγ/2
        qₘ = (1 + c DᵀD)⁻¹ (q − h/2 Dᵀ pₘ),   x₁ = x + h (L − γ LᵀL) xₘ

    E₁ − E = −hγ |L xₘ|² exactly, for every h and γ. Two solves.
    """

    order = 1
    preserves = ((DoubleBracketField, Invariant.DECAY),)

    def step(self, field: DoubleBracketField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            gamma = field.damping()
            c, g, one = dt * gamma / 2, gram_matrix(d.matrix), identity(d.matrix.shape[-2], z)
            inner = one + c * g
            pm = solve_symmetric(
                inner @ inner + dt**2 / 4 * g, p + c * d.up(d.down(p)) + dt / 2 * d.up(q)
            )
            qm = q - dt / 2 * d.down(pm)
            qm = qm - c * d.down(solve_symmetric(inner, d.up(qm)))  # Woodbury for (1 + c DᵀD)⁻¹
            dq, dp = -d.down(pm), d.up(qm)
            q = q + dt * (dq - gamma * d.down(dp))
            return field.from_frame(q, p + dt * (dp + gamma * d.up(dq)), context), carry


class DoubleBracket(Stack):
    r"""Blocks of: rotate channels, one double-bracket step on an attention graph, move tokens along spheres.

        dx/dt = L x − γ LᵀL x,   E = ½|x|²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time. ``gamma=0, learned=False`` is
    the graph Hamiltonian
    processor bit by bit: the mix of both is learned or fixed.

    Args:
        dim, depth, heads, edges, frozen, ratio, h, dt, recompute: as in
            :class:`fields.flows.graph_hamiltonian.GraphHamiltonian`.
        gamma: damping, the initial value if learned.
        learned: whether γ is trained.
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
        learned: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> DoubleBracketField:
            return DoubleBracketField(
                dim, heads=heads, edges=edges, frozen=frozen, gamma=gamma, learned=learned
            )

        blocks = wave_blocks(dim, field, SplitBracket, depth=depth, h=h, ratio=ratio)
        super().__init__(blocks, dt=dt, recompute=recompute)
