"""Waves that move a field and friction that wears it down, both learned between neighbors."""

from __future__ import annotations

import math

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, EnergyField, Invariant, full_precision
from fields.integrators.base import Integrator
from fields.nn.linear_solve import gram_matrix, identity, solve_symmetric
from fields.nn.stencils import Spread, around, taps


class StencilPortHamiltonianField(EnergyField):
    r"""Tokens are samples of fields on a periodic grid, moved and worn down by operators between neighbors.

        dz/dt = S(z) z − M(z) z,    E = ½|z|²,    dE/dt = −zᵀM z ≤ 0
        S = Σₙ Σ_μ s_μ(n) Pₙᵀ (ξ_μ θ_μᵀ − θ_μ ξ_μᵀ) Pₙ = −Sᵀ,    M = Σₙ Σ_μ l_μ(n)² Pₙᵀ φ_μ φ_μᵀ Pₙ ≥ 0

    Pₙ reads the neighborhood of place n; s and l are functions of what it holds, one network for
    all places. The heat equation is φ = a difference and l = const; viscous Burgers is that and 3 S
    = −(u ∂ₓ + ∂ₓ u). Between `FourierSampling` codes E is the L² norm of the normalized field.

    Args:
        dim: channels c.
        tokens: anchors per axis, as the encoder's.
        patterns: number of stencils μ of each operator.
        radius: neighbors that a stencil sees on either side, along each axis.
        hidden: width of the network.

    Raises:
        ValueError: stencils that radius around the box, or another number of tokens.

    Reference: metriplectic form of Gruber, Lee & Trask, NeurIPS 2023, eq. 5, with a convex energy
    in the place of both potentials.
    Shape: z (b k c) -> dz/dt (b k c).
    """

    law = Invariant.DECAY
    learned_energy = False

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
        self.tokens, self.radius, self.patterns = tuple(tokens), radius, patterns
        seen = dim * taps(tokens, radius)
        self.left, self.right, self.rub = (
            nn.Parameter(torch.randn(patterns, seen) / math.sqrt(seen)) for _ in range(3)
        )
        self.look, self.steer = nn.Linear(seen, hidden), nn.Linear(dim, hidden, bias=False)
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
        """S and M at this state, for vectors z.flatten(1)."""
        if z.shape[1] != math.prod(self.tokens):
            raise ValueError(
                f"StencilPortHamiltonianField is made for {self.tokens} tokens, got {z.shape[1]}. Give encoder and field the same."
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
        """E = ½|z|²."""
        return 0.5 * state.square().sum((-2, -1))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k c"], context: Context = Context()
    ) -> Float[Tensor, "b k c"]:
        """S z − M z."""
        s, m = self.operators(z, context)
        return ((s - m) @ z.flatten(1)[..., None]).view_as(z)


class ImplicitPortHamiltonianStep(Integrator):
    r"""The Cayley transform of S, then backward Euler of M, both frozen over the step: two Cholesky solves.

        (1 + BᵀB) zₘ = (1 + B) z,   B = hS/2,   z* = z + 2B zₘ;    (1 + hM) z₁ = z*

    |z*| = |z|, and |z₁|² = |z*|² − 2h z₁ᵀM z₁ − |z₁ − z*|², hence E₁ ≤ E for every h, S and M. What friction should wipe out
    within a step is wiped out, however stiff it is.
    """

    order = 1
    preserves = ((StencilPortHamiltonianField, Invariant.DECAY),)

    def step(self, field: StencilPortHamiltonianField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        with full_precision(z):
            s, m = field.operators(z, context)
            x, b, one = z.flatten(1)[..., None], dt / 2 * s, identity(s.shape[-1], z)
            turned = x + 2 * (b @ solve_symmetric(one + gram_matrix(b.mT), x + b @ x))
            return solve_symmetric(one + dt * m, turned).view_as(z), carry
