"""Graph diffusion with attention: tokens move towards averages of others, and never leave the range they start in."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Invariant, VectorField, full_precision
from fields.integrators.base import Integrator
from fields.nn.attention.weights import Softmax
from fields.nn.geometry import Rotary, proximity, rotate
from fields.nn.graph.incidence import merge_heads, split_heads
from fields.nn.linear_solve import identity, solve_symmetric
from fields.nn.rotation import Reaction
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack

LENGTHS = (0.05, 1.0)  # initial attention lengths of the heads, in unit coordinates

MAX_FREQUENCY = 8.0  # largest rotation frequency, in turns per domain

SHARPNESS = 2.0  # initial τ

RATES = (
    -2.0,
    2.0,
)  # initial logits of the heads' diffusivities: some heads keep detail, others smooth


class DiffusionField(VectorField):
    """A field for which z + h f(z) stays within the range of z, channel by channel, for every 0 ≤ h ≤ 1."""

    law = Invariant.MAXIMUM


class LinearDiffusionField(DiffusionField):
    r"""dz/dt = −κ (diag(r) − W) z with W ≥ 0 and row sums r ≤ 1, a matrix for each head and its slice of the channels.

    The documents write +δ*αδ for the same sum; Σⱼ αᵢⱼ (zⱼ − zᵢ) is −δ*αδ z, and the other sign
    blows up.
    """

    def __init__(self, dim: int, *, heads: int = 4):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"`{type(self).__name__}` has {dim} channels, which {heads} heads cannot share. Use a divisor."
            )
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.log_length = nn.Parameter(
            torch.linspace(math.log(LENGTHS[0]), math.log(LENGTHS[1]), heads)
        )
        self.rate = nn.Parameter(torch.linspace(*RATES, heads))
        self.rotary = Rotary(dim // heads, max_frequency=MAX_FREQUENCY)
        nn.init.orthogonal_(self.query.weight)

    @abstractmethod
    def weights(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b heads k k"]:
        """W ≥ 0 with row sums at most 1."""

    def diffusivity(self) -> Float[Tensor, "heads 1 1"]:
        """0 < κ < 1 of each head."""
        return self.rate.sigmoid()[:, None, None]

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """κ (W z − r z)."""
        w = self.weights(z, context)
        with full_precision(z):
            x = split_heads(z, self.heads)
            return merge_heads(self.diffusivity() * (w @ x - w.sum(-1, keepdim=True) * x))

    def _turn(
        self, x: Float[Tensor, "*b heads k e"], context: Context
    ) -> Float[Tensor, "*b heads k e"]:
        """Rotated by position."""
        return x if context.pos is None else rotate(x, self.rotary(context.pos, context.periodic))

    def _geometry(self, context: Context) -> Float[Tensor, "#b heads k k"] | float:
        return 0.0 if context.distance2 is None else proximity(context.distance2, self.log_length)


class RandomWalkField(LinearDiffusionField):
    r"""GRAND: each token moves towards its attention-weighted mean.

        dz/dt = κ (A − 1) z,   A = softmax(QKᵀ/√d − ‖xᵢ − xⱼ‖²/2ℓ²)

    A is row-stochastic, so values stay within the range they start in. The mean may move.

    Reference: Chamberlain et al., ICML 2021.
    """

    def __init__(self, dim: int, *, heads: int = 4):
        super().__init__(dim, heads=heads)
        self.key = nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.key.weight)
        self.softmax = Softmax()  # A itself is needed, by the implicit steps and by its row sums

    def weights(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b heads k k"]:
        """A."""
        scale = (z.shape[-1] // self.heads) ** -0.5
        weight = torch.cat([scale * self.query.weight, self.key.weight])
        both = nn.functional.linear(context.shift(self.norm(z)), weight).to(z.dtype)
        query, key = self._turn(
            rearrange(both, "b k (two heads e) -> two b heads k e", two=2, heads=self.heads),
            context,
        )
        with full_precision(z):
            return self.softmax((query @ key.mT).add_(self._geometry(context)))

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """κ (A z − z): r is one."""
        w = self.weights(z, context)
        with full_precision(z):
            kappa = repeat(self.rate.sigmoid(), "heads -> (heads e)", e=z.shape[-1] // self.heads)
            return kappa * (merge_heads(w @ split_heads(z, self.heads)) - z)


class SymmetricGrandField(LinearDiffusionField):
    r"""GRAND with tied queries and keys: diffusion that also conserves the mean and shrinks the norm.

        dz/dt = −κ (diag(r) − W) z / max r,   W = exp(s + f + fᵀ),   s = τ q̂·q̂ᵀ − ‖xᵢ − xⱼ‖²/2ℓ²,   q̂ = q/|q|

    Directions instead of vectors, because the diagonal of W, which moves nothing, would otherwise
    outweigh all the rest. f comes from symmetric Sinkhorn iterations f ← (f − log Σⱼ exp(sᵢⱼ + fⱼ))
    / 2. Since r = W1 is the actual row sum, 1ᵀ(diag(r) − W) = 0 however few iterations there were.
    W is normalized over rows and columns at once: no softmax.

    Args:
        dim, heads: as everywhere.
        iterations: Sinkhorn iterations; more bring all r closer to 1.

    Reference: Sander et al., AISTATS 2022 (Sinkformers).
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__(dim, heads=heads)
        self.iterations = iterations
        self.log_sharpness = nn.Parameter(torch.full((heads,), math.log(SHARPNESS)))

    def weights(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b heads k k"]:
        """W / max r."""
        query = self._turn(
            split_heads(self.query(context.shift(self.norm(z))), self.heads), context
        ).to(z.dtype)
        query = (
            nn.functional.normalize(query, dim=-1) * (0.5 * self.log_sharpness).exp()[:, None, None]
        )
        with full_precision(z):
            return self._balance(query @ query.mT + self._geometry(context))

    def _balance(self, score: Float[Tensor, "b heads k k"]) -> Float[Tensor, "b heads k k"]:
        score = 0.5 * (score + score.mT)  # symmetric to the last bit
        f = -0.5 * score.logsumexp(-1)
        for _ in range(self.iterations):
            f = 0.5 * (f - (score + f[..., None, :]).logsumexp(-1))
        log_w = score + f[..., None, :] + f[..., :, None]
        return (log_w - log_w.logsumexp(-1).amax(-1)[..., None, None]).exp()


class SaturatedGrandField(DiffusionField):
    r"""Diffusion whose fluxes saturate: σ where it keeps the law, on the edges.

        dz/dt = −δ*(α σ(δ z)),   (δz)ᵢⱼ = zⱼ − zᵢ,   σ = tanh

    The gradient flow of Σ αᵢⱼ log cosh(zⱼ − zᵢ): the mean is exact and the range is kept, because σ
    is odd, increasing and of slope at most one. σ outside the sum would lose both. Memory grows as
    k² h.
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__()
        self.linear = SymmetricGrandField(dim, heads=heads, iterations=iterations)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """Σⱼ αᵢⱼ tanh(zⱼ − zᵢ)."""
        w, x = self.linear.weights(z, context), split_heads(z, self.linear.heads)
        flux = (x[..., None, :, :] - x[..., :, None, :]).tanh()
        return merge_heads(self.linear.diffusivity() * (w[..., None] * flux).sum(-2))


class ExplicitDiffusion(Integrator):
    """z₁ = z + min(h, 1) f(z): a convex combination, row by row. Order 1."""

    order = 1
    preserves = ((DiffusionField, Invariant.MAXIMUM),)

    def step(self, field: DiffusionField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        return z + torch.clamp(torch.as_tensor(dt), max=1) * field(t, z, context), carry


class ImplicitDiffusion(Integrator):
    """(1 + hκ(diag r − W)) z₁ = z, by Cholesky: an M-matrix with unit row sums, so the range is kept for every h. Order 1."""

    order = 1
    preserves = ((SymmetricGrandField, Invariant.MAXIMUM),)

    def step(self, field: LinearDiffusionField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        w = field.weights(z, context)
        with full_precision(z):
            laplacian = torch.diag_embed(w.sum(-1)) - w
            matrix = identity(z.shape[1], z) + dt * field.diffusivity() * laplacian
            return merge_heads(solve_symmetric(matrix, split_heads(z, field.heads))), carry


class Uniformization(Integrator):
    r"""The exponential of −hκL as a truncated Poisson mixture of powers, normalized: convex for every h and K.

        z₁ = Σ_{j≤K} (hκ)ʲ/j! Pʲ z / Σ_{j≤K} (hκ)ʲ/j!,   P = 1 − diag(r) + W

    Args:
        terms: K; the error of the exponential is at most twice the Poisson(hκ) tail beyond K.
    """

    order = 1
    preserves = ((LinearDiffusionField, Invariant.MAXIMUM),)

    def __init__(self, *, terms: int = 6):
        super().__init__()
        self.terms = terms

    def step(self, field: LinearDiffusionField, t, dt, z: Tensor, context: Context, carry):
        """One step."""
        w = field.weights(z, context)
        with full_precision(z):
            x = split_heads(z, field.heads)
            stay, rate = 1 - w.sum(-1, keepdim=True), dt * field.diffusivity()
            weight, total, mixed = torch.ones_like(rate), torch.ones_like(rate), x
            for j in range(1, self.terms + 1):
                x = stay * x + w @ x
                weight = weight * rate / j
                mixed, total = mixed + weight * x, total + weight
            return merge_heads(mixed / total), carry


class Grand(Stack):
    r"""Blocks of: a step of graph diffusion, then a reaction of each token alone.

        z ← z − hκ (diag(r) − W(z)) z;   z ← z + MLP(LN z) + b ∘ z₀

    The law belongs to the diffusion: it keeps every channel within the range in which it starts,
    and with the symmetric field its mean too. The reaction, without which many blocks would average
    everything away, keeps none; switch it off (``react=False``) and the law holds for the whole
    stack.

    Args:
        dim: token width h.
        depth: blocks.
        field: h -> the diffusion.
        integrator: explicit, implicit or uniformization.
        react: whether tokens react.
        ratio: hidden width of the reaction over h.
        h: step size at the start; learned between 0 and 1.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.

    Reference: Chamberlain et al., ICML 2021.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int = 4,
        field: Callable[[int], DiffusionField] = SymmetricGrandField,
        integrator: Callable[[], Integrator] = ExplicitDiffusion,
        react: bool = True,
        ratio: float = 3.5,
        h: float = 0.5,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        blocks = [
            FlowBlock(
                field=field(dim),
                integrator=integrator(),
                h=h,
                react=Reaction(dim, ratio=ratio) if react else None,
            )
            for _ in range(depth)
        ]
        super().__init__(blocks, dt=dt, recompute=recompute)
