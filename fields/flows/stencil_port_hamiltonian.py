r"""Stencil port-Hamiltonian flow: transport and diffusion between neighbors on a periodic grid.

    dz/dt = (S(z) − M(z)) z,   S = −Sᵀ,   M ≥ 0,   E = ½|z|²,   dE/dt = −zᵀM z ≤ 0

with z the samples of a field, and S and M learned stencils whose strengths depend on the field. The
law: E never increases, at every step, for all step sizes and weights. E has no weights, so it is
one energy through the whole processor, in depth and in time. Between `FourierSampling` codes E is
the L² norm of the normalized field, and the law is the dissipation of the PDE (heat, Burgers).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric
from fields.nn.stencils import Spread, around, taps
from fields.processors.block import flow_blocks
from fields.processors.stack import Stack


class StencilPortHamiltonianField(EnergyField):
    r"""Samples of fields on a periodic grid, with learned transport and diffusion stencils.

        dz/dt = S(z) z − M(z) z,   E = ½|z|²,   dE/dt = −zᵀM z ≤ 0
        S = Σₙ Σ_μ s_μ(n) Pₙᵀ (ξ_μ θ_μᵀ − θ_μ ξ_μᵀ) Pₙ = −Sᵀ
        M = Σₙ Σ_μ l_μ(n)² Pₙᵀ φ_μ φ_μᵀ Pₙ ≥ 0

    Pₙ reads the neighborhood of place n; s and l are functions of its values, by one network for
    all places. The heat equation is φ = a difference and l = const; viscous Burgers is that and
    3 S = −(u ∂ₓ + ∂ₓ u).

    Args:
        dim: channels c.
        tokens: anchors per axis, as the encoder's.
        patterns: number of stencils μ of each operator.
        radius: neighbors that a stencil sees on either side, along each axis.
        hidden: width of the network.

    Raises:
        ValueError: stencils that reach around the domain, or another number of tokens.

    Shape: z (b k c) -> dz/dt (b k c), the tokens a periodic grid.
    Reference: the metriplectic form of Gruber, Lee & Trask, NeurIPS 2023, eq. 5, with one convex
    energy in place of both potentials.

    Example:
        >>> field = StencilPortHamiltonianField(1, tokens=(12,))
        >>> field(0.0, torch.randn(2, 12, 1)).shape
        torch.Size([2, 12, 1])
    """

    law = Invariant.DECAY
    learned_energy = False
    permutation_equivariant = False
    uses_positions = False

    def __init__(
        self,
        dim: int,
        *,
        tokens: tuple[int, ...],
        patterns: int = 16,
        radius: int = 3,
        hidden: int = 32,
    ):
        super().__init__()
        self.tokens = tuple(tokens)
        self.radius = radius
        self.patterns = patterns
        seen = dim * taps(tokens, radius)
        self.left, self.right, self.rub = (
            nn.Parameter(torch.randn(patterns, seen) / math.sqrt(seen)) for _ in range(3)
        )
        self.look = nn.Linear(seen, hidden)
        self.steer = nn.Linear(dim, hidden, bias=False)
        self.strengths = nn.Linear(hidden, 2 * patterns)
        with torch.no_grad():
            self.strengths.weight.mul_(0.1)
            self.strengths.bias.copy_(
                torch.cat([torch.zeros(patterns), torch.full((patterns,), 0.1)])
            )
        self.spread = Spread(self.tokens, dim, radius)

    def operators(
        self, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> tuple[Float[Tensor, "b kc kc"], Float[Tensor, "b kc kc"]]:
        """S and M at this state, which act on vectors z.flatten(1)."""
        if z.shape[1] != math.prod(self.tokens):
            raise ValueError(
                f"StencilPortHamiltonianField is made for {self.tokens} tokens, got {z.shape[1]}. "
                "Give the same `tokens` to the encoder and the field."
            )
        hidden = self.look(around(z, self.tokens, self.radius))
        if context.cond is not None:
            hidden = hidden + self.steer(context.cond.to(z.dtype))[:, None]
        s, friction = self.strengths(hidden.tanh()).chunk(2, dim=-1)
        turn = einsum(s, self.left, self.right, "b k m, m i, m j -> b k i j")
        rub = einsum(friction.square(), self.rub, self.rub, "b k m, m i, m j -> b k i j")
        return self.spread((turn - turn.mT).flatten(2)), self.spread(rub.flatten(2))

    def energy(
        self, state: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b"]:
        """E = ½|z|² of each sample."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b k c"]:
        """S z − M z.   Shape: (b k c)."""
        s, m = self.operators(z, context)
        return ((s - m) @ z.flatten(1)[..., None]).view_as(z)


class ImplicitPortHamiltonianStep(Integrator):
    r"""A Cayley transform of S, then backward Euler of M, both frozen over the step. Order 1.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hS/2,   z* = z + 2B zₘ;   (1 + hM) z₁ = z*

    Proof of the law: |z*| = |z| because S is skew, and (1 + hM) z₁ = z* gives
    |z₁|² = |z*|² − 2h z₁ᵀM z₁ − |z₁ − z*|². Hence E₁ ≤ E for every h, S and M. Two Cholesky solves.
    Stiff diffusion is damped within a step, as backward Euler does.

    Example:
        >>> field, z = StencilPortHamiltonianField(1, tokens=(12,)), torch.randn(2, 12, 1)
        >>> x, _ = ImplicitPortHamiltonianStep().step(field, 0.0, 50.0, z, Context(), ())
        >>> bool((field.energy(x) < field.energy(z)).all())
        True
    """

    order = 1
    preserves = ((StencilPortHamiltonianField, Invariant.DECAY),)

    def step(
        self,
        field: StencilPortHamiltonianField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one implicit step of size ``dt``.   Shape: (b k c) -> (b k c)."""
        with full_precision(z):
            s, m = field.operators(z, context)
            x = z.flatten(1)[..., None]
            b = dt / 2 * s
            one = identity(s.shape[-1], z)
            turned = x + 2 * (b @ solve_symmetric(one + gram_matrix(b.mT), x + b @ x))
            return solve_symmetric(one + dt * m, turned).view_as(z), carry


class StencilPortHamiltonian(Stack):
    r"""Samples of a field on a periodic grid, with learned transport and diffusion.

        dz/dt = (S(z) − M(z)) z,   E = ½|z|²,   dE/dt ≤ 0

    E never increases, at any step of any block, in depth and in time.

    Args:
        dim: channels c.
        tokens: tokens per axis, as the encoder's.
        patterns: number of stencils μ of each operator.
        radius: neighbors that a stencil sees on either side, along each axis.
        hidden: width of the network that sets the strengths.
        depth: number of blocks.
        steps: steps of each block.
        h: initial step size; learned between 0 and ``h_max``.
        h_max: upper bound of the step size.
        rotate: rotate the channels before each block after the first.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Example:
        >>> StencilPortHamiltonian(1, tokens=(12,)).law.value
        'the energy never increases'
    """

    def __init__(
        self,
        dim: int,
        *,
        tokens: tuple[int, ...],
        patterns: int = 16,
        radius: int = 3,
        hidden: int = 32,
        depth: int = 1,
        steps: int = 4,
        h: float = 0.25,
        h_max: float = 1.0,
        rotate: bool = True,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        def field() -> StencilPortHamiltonianField:
            return StencilPortHamiltonianField(
                dim, tokens=tokens, patterns=patterns, radius=radius, hidden=hidden
            )

        blocks = flow_blocks(
            dim,
            field,
            ImplicitPortHamiltonianStep,
            depth=depth,
            steps=steps,
            h=h,
            h_max=h_max,
            rotate=rotate,
        )
        super().__init__(blocks, dt=dt, recompute=recompute)
