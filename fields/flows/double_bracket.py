r"""Double bracket on a graph: waves that lose energy in the directions in which they move.

    dx/dt = L x − γ LᵀL x,   L = [[0, −Dᵀ], [D, 0]],   E = ½|x|²,   dE/dt = −γ |L x|² ≤ 0

with x = (q on tokens, p on edges) and D(q) the incidence matrix of attention. The law: E never
increases, at every step, for all step sizes and weights. E has no weights, so it is one energy
through the whole processor, in depth and in time.
"""

from __future__ import annotations

from typing import Any

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
    r"""Tokens and edges exchange energy and dissipate it.

        dx/dt = L x − γ LᵀL x,   Lᵀ = −L,   E = ½|x|²,   dE/dt = −γ |L x|² ≤ 0

    The first term by itself is the graph Hamiltonian flow; γ = 0 is that flow bit for bit.

    Args:
        dim: token width h.
        heads: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        edges: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        frozen: see :class:`fields.flows.graph_hamiltonian.GraphWaveField`.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained.

    Shape: state (b n+m h) -> (b n+m h).
    Reference: Gruber, Lee & Trask, NeurIPS 2023.

    Example:
        >>> import torch
        >>> field = DoubleBracketField(8, edges=3)
        >>> field(0.0, field.lift(torch.randn(2, 5, 8))).shape
        torch.Size([2, 8, 8])
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
        """L x − γ LᵀL x.   Shape: (b k h)."""
        d, dq, dp = self.skew(z, context)
        gamma = self.damping()
        return self.from_frame(dq - gamma * d.down(dp), dp + gamma * d.up(dq), context)


class SplitBracket(Integrator):
    r"""A Cayley transform, then one explicit step of the damping. One solve, order 1.

        x ← (1 − hL/2)⁻¹ (1 + hL/2) x;   x ← x − c LᵀL x,   c = min(hγ, 1)

    Proof of the law: the Cayley transform leaves E unchanged, and the second step changes it by
    E₁ − E = −c |L x|² + c²/2 |LᵀL x|² ≤ 0 for c ≤ 1, because |L|² ≤ 2.

    Example:
        >>> import torch
        >>> field = DoubleBracketField(8)
        >>> x = field.lift(torch.randn(2, 5, 8))
        >>> y, _ = SplitBracket().step(field, 0.0, torch.tensor(50.0), x, Context(), ())
        >>> bool((field.energy(y) < field.energy(x)).all())
        True
    """

    order = 1
    preserves = ((DoubleBracketField, Invariant.DECAY),)

    def step(
        self,
        field: DoubleBracketField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one split step of size ``dt``.   Shape: (b k h) -> (b k h)."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            q, p = cayley_rotation(d, dt, q, p)
            c = (dt * field.damping()).clamp(max=1)
            q = q - c * d.down(d.up(q))
            p = p - c * d.up(d.down(p))
            return field.from_frame(q, p, context), carry


class CoupledBracket(Integrator):
    r"""The implicit midpoint rule for both brackets, with D frozen over the step. Two solves.

        [(1 + cG)² + h²/4 G] pₘ = (1 + cG) p + h/2 D q,   G = D Dᵀ,   c = hγ/2
        qₘ = (1 + c DᵀD)⁻¹ (q − h/2 Dᵀ pₘ),   x₁ = x + h (L − γ LᵀL) xₘ

    Proof of the law: xₘ = ½(x + x₁) and L is skew, so E₁ − E = (x₁ − x)·xₘ = −hγ |L xₘ|² ≤ 0 for
    every h and γ ≥ 0. Order 1, because D is evaluated at x.

    Example:
        >>> import torch
        >>> field = DoubleBracketField(8)
        >>> x = field.lift(torch.randn(2, 5, 8))
        >>> y, _ = CoupledBracket().step(field, 0.0, 50.0, x, Context(), ())
        >>> bool((field.energy(y) < field.energy(x)).all())
        True
    """

    order = 1
    preserves = ((DoubleBracketField, Invariant.DECAY),)

    def step(
        self,
        field: DoubleBracketField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one implicit midpoint step of size ``dt``.   Shape: (b k h)."""
        d, q, p = field.to_frame(z, context)
        with full_precision(z):
            gamma = field.damping()
            c = dt * gamma / 2
            g = gram_matrix(d.matrix)
            one = identity(d.matrix.shape[-2], z)
            inner = one + c * g
            pm = solve_symmetric(
                inner @ inner + dt**2 / 4 * g, p + c * d.up(d.down(p)) + dt / 2 * d.up(q)
            )
            qm = q - dt / 2 * d.down(pm)
            qm = qm - c * d.down(solve_symmetric(inner, d.up(qm)))  # Woodbury for (1 + c DᵀD)⁻¹
            dq = -d.down(pm)
            dp = d.up(qm)
            q = q + dt * (dq - gamma * d.down(dp))
            return field.from_frame(q, p + dt * (dp + gamma * d.up(dq)), context), carry


class DoubleBracket(Stack):
    r"""Blocks of: rotate channels, one double-bracket step on a graph, move tokens along spheres.

        dx/dt = L x − γ LᵀL x,   E = ½|x|²,   dE/dt = −γ|L x|² ≤ 0

    E never increases, at any step of any block, in depth and in time. ``gamma=0, learned=False`` is
    the graph Hamiltonian processor, bit for bit.

    Args:
        dim: token width h.
        depth: see :class:`fields.flows.GraphHamiltonian`.
        heads: see :class:`fields.flows.GraphHamiltonian`.
        edges: see :class:`fields.flows.GraphHamiltonian`.
        frozen: see :class:`fields.flows.GraphHamiltonian`.
        ratio: see :class:`fields.flows.GraphHamiltonian`.
        h: see :class:`fields.flows.GraphHamiltonian`.
        gamma: damping γ ≥ 0, the initial value if learned.
        learned: whether γ is trained.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> DoubleBracket(8).law.value
        'the energy never increases'
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
