r"""GRAND: graph diffusion with attention, under which values never leave their initial range.

    dz/dt = −κ (diag(r) − W(z)) z,   W ≥ 0,   row sums r ≤ 1

The law (a maximum principle): min_j zⱼ(0) ≤ zᵢ(t) ≤ max_j zⱼ(0), channel by channel, at every step.
It holds for each diffusion; the reaction between two diffusions has no law, and with
``react=False`` the law holds through the whole processor. With the symmetric field the mean of each
channel is constant too.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Invariant, VectorField, full_precision
from fields.integrators.base import Integrator
from fields.nn.attention.weights import Softmax
from fields.nn.geometry import Rotary, distance_scores, rotate
from fields.nn.graph.incidence import merge_heads, split_heads
from fields.nn.linear_solve import identity, solve_symmetric
from fields.nn.rotation import Reaction
from fields.processors.block import FlowBlock
from fields.processors.stack import Stack

# Initial attention lengths of the first and last head, in unit coordinates.
LENGTHS = (0.05, 1.0)

# Largest rotation frequency, in turns per domain.
MAX_FREQUENCY = 8.0

# Initial τ.
SHARPNESS = 2.0

# Initial logits of the heads' diffusivities: the first heads keep detail, the last ones smooth.
RATES = (-2.0, 2.0)


class DiffusionField(VectorField):
    """A field f with z + h f(z) within the range of z, channel by channel, for all 0 ≤ h ≤ 1.

    Example:
        >>> DiffusionField.law.value
        'values never leave the range they start in'
    """

    law = Invariant.MAXIMUM


class LinearDiffusionField(DiffusionField):
    r"""dz/dt = −κ (diag(r) − W) z with W ≥ 0 and row sums r ≤ 1.

    Each head has a matrix W for its slice of the channels. With δ the gradient on the graph this is
    −δ*αδ z = Σⱼ αᵢⱼ (zⱼ − zᵢ); with the other sign the flow is unstable.

    Args:
        dim: token width h.
        heads: number of matrices W.

    Example:
        >>> field: LinearDiffusionField = RandomWalkField(8)
        >>> field.weights(torch.randn(2, 5, 8)).shape, field.diffusivity().shape
        (torch.Size([2, 4, 5, 5]), torch.Size([4, 1, 1]))
    """

    def __init__(self, dim: int, *, heads: int = 4):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"`{type(self).__name__}` has {dim} channels, which {heads} heads cannot share. "
                f"Use a divisor of {dim}."
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
        """W ≥ 0 with row sums at most 1, for each head."""

    def diffusivity(self) -> Float[Tensor, "heads 1 1"]:
        """0 < κ < 1 of each head."""
        return self.rate.sigmoid()[:, None, None]

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """κ (W z − r z).   Shape: (b k h)."""
        w = self.weights(z, context)
        with full_precision(z):
            x = split_heads(z, self.heads)
            return merge_heads(self.diffusivity() * (w @ x - w.sum(-1, keepdim=True) * x))

    def _turn(
        self, x: Float[Tensor, "*b heads k e"], context: Context
    ) -> Float[Tensor, "*b heads k e"]:
        """x rotated by position."""
        return x if context.pos is None else rotate(x, self.rotary(context.pos, context.periodic))

    def _geometry(self, context: Context) -> Float[Tensor, "#b heads k k"] | float:
        return (
            0.0
            if context.distance2 is None
            else distance_scores(context.distance2, self.log_length)
        )


class RandomWalkField(LinearDiffusionField):
    r"""GRAND: each token moves towards its attention-weighted mean.

        dz/dt = κ (A − 1) z,   A = softmax(QKᵀ/√d − ‖xᵢ − xⱼ‖²/2ℓ²)

    A is row-stochastic, so values stay within their initial range. The mean may change.

    Args:
        dim: token width h.
        heads: number of attention matrices.

    Shape: z (b k h) -> dz/dt (b k h).
    Reference: Chamberlain et al., ICML 2021.

    Example:
        >>> RandomWalkField(8)(0.0, torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, *, heads: int = 4):
        super().__init__(dim, heads=heads)
        self.key = nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.key.weight)
        self.softmax = Softmax()  # the implicit steps need A itself

    def weights(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b heads k k"]:
        """A of each head."""
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
        """κ (A z − z), since r = 1.   Shape: (b k h)."""
        w = self.weights(z, context)
        with full_precision(z):
            kappa = repeat(self.rate.sigmoid(), "heads -> (heads e)", e=z.shape[-1] // self.heads)
            return kappa * (merge_heads(w @ split_heads(z, self.heads)) - z)


class SymmetricGrandField(LinearDiffusionField):
    r"""GRAND with tied queries and keys: diffusion that also preserves the mean.

        dz/dt = −κ (diag(r) − W) z / max r,   W = exp(s + f + fᵀ)
        s = τ q̂·q̂ᵀ − ‖xᵢ − xⱼ‖²/2ℓ²,   q̂ = q/|q|

    W is symmetric, so the mean is constant and |z| decreases. Queries are normalized, because the
    diagonal of W, which has no effect, would otherwise outweigh all other entries. f comes from
    symmetric Sinkhorn iterations f ← (f − log Σⱼ exp(sᵢⱼ + fⱼ)) / 2, which normalize rows and
    columns at once. Since r = W1 is the actual row sum, 1ᵀ(diag(r) − W) = 0 after any number of
    iterations.

    Args:
        dim: token width h.
        heads: number of matrices W.
        iterations: Sinkhorn iterations; more of them bring all r closer to 1.

    Shape: z (b k h) -> dz/dt (b k h).
    Reference: Sander et al., AISTATS 2022 (Sinkformers).

    Example:
        >>> z = torch.randn(2, 5, 8)
        >>> SymmetricGrandField(8)(0.0, z).mean(1).abs().max().item() < 1e-6
        True
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__(dim, heads=heads)
        self.iterations = iterations
        self.log_sharpness = nn.Parameter(torch.full((heads,), math.log(SHARPNESS)))

    def weights(
        self, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b heads k k"]:
        """W / max r of each head."""
        query = self._turn(
            split_heads(self.query(context.shift(self.norm(z))), self.heads), context
        ).to(z.dtype)
        query = (
            nn.functional.normalize(query, dim=-1) * (0.5 * self.log_sharpness).exp()[:, None, None]
        )
        with full_precision(z):
            return self._balance(query @ query.mT + self._geometry(context))

    def _balance(self, score: Float[Tensor, "b heads k k"]) -> Float[Tensor, "b heads k k"]:
        score = 0.5 * (score + score.mT)  # exactly symmetric in floating point
        f = -0.5 * score.logsumexp(-1)
        for _ in range(self.iterations):
            f = 0.5 * (f - (score + f[..., None, :]).logsumexp(-1))
        log_w = score + f[..., None, :] + f[..., :, None]
        return (log_w - log_w.logsumexp(-1).amax(-1)[..., None, None]).exp()


class SaturatedGrandField(DiffusionField):
    r"""Nonlinear diffusion whose fluxes saturate.

        dz/dt = −δ*(α σ(δ z)),   (δz)ᵢⱼ = zⱼ − zᵢ,   σ = tanh

    The gradient flow of Σ αᵢⱼ log cosh(zⱼ − zᵢ). The mean is constant and values stay within their
    range, because σ acts on the edges and is odd, increasing and of slope at most one. A σ outside
    the sum would lose both. Memory grows as k² h.

    Args:
        dim: token width h.
        heads: see :class:`SymmetricGrandField`.
        iterations: see :class:`SymmetricGrandField`.

    Shape: z (b k h) -> dz/dt (b k h).

    Example:
        >>> SaturatedGrandField(8)(0.0, torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__()
        self.linear = SymmetricGrandField(dim, heads=heads, iterations=iterations)

    def forward(
        self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()
    ) -> Float[Tensor, "b k h"]:
        """Σⱼ αᵢⱼ tanh(zⱼ − zᵢ).   Shape: (b k h)."""
        w = self.linear.weights(z, context)
        x = split_heads(z, self.linear.heads)
        flux = (x[..., None, :, :] - x[..., :, None, :]).tanh()
        return merge_heads(self.linear.diffusivity() * (w[..., None] * flux).sum(-2))


class ExplicitDiffusion(Integrator):
    """z₁ = z + min(h, 1) f(z). Order 1.

    Proof of the law: (1 − hκr) ≥ 0 and hκW ≥ 0 for h ≤ 1, with row sums of one together, so every
    value of z₁ is a convex combination of values of z.

    Example:
        >>> z = torch.randn(2, 5, 8)
        >>> x, _ = ExplicitDiffusion().step(SymmetricGrandField(8), 0.0, 1.0, z, Context(), ())
        >>> bool((x.amax(1) <= z.amax(1)).all())
        True
    """

    order = 1
    preserves = ((DiffusionField, Invariant.MAXIMUM),)

    def step(
        self,
        field: DiffusionField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one explicit step of size min(dt, 1).   Shape: (b k h) -> (b k h)."""
        return z + torch.clamp(torch.as_tensor(dt), max=1) * field(t, z, context), carry


class ImplicitDiffusion(Integrator):
    """(1 + hκ(diag r − W)) z₁ = z, by a Cholesky solve. Order 1.

    Proof of the law: the matrix is an M-matrix with unit row sums, so its inverse is non-negative
    with unit row sums: a convex combination for every h.

    Example:
        >>> z = torch.randn(2, 5, 8)
        >>> x, _ = ImplicitDiffusion().step(SymmetricGrandField(8), 0.0, 50.0, z, Context(), ())
        >>> bool((x.amax(1) <= z.amax(1)).all())
        True
    """

    order = 1
    preserves = ((SymmetricGrandField, Invariant.MAXIMUM),)

    def step(
        self,
        field: LinearDiffusionField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after one backward Euler step of size ``dt``.   Shape: (b k h)."""
        w = field.weights(z, context)
        with full_precision(z):
            laplacian = torch.diag_embed(w.sum(-1)) - w
            matrix = identity(z.shape[1], z) + dt * field.diffusivity() * laplacian
            return merge_heads(solve_symmetric(matrix, split_heads(z, field.heads))), carry


class Uniformization(Integrator):
    r"""The exponential of −hκ(diag r − W) as a truncated, normalized Poisson mixture. Order 1.

        z₁ = Σ_{j≤K} (hκ)ʲ/j! Pʲ z / Σ_{j≤K} (hκ)ʲ/j!,   P = 1 − diag(r) + W

    Proof of the law: P is row-stochastic, hence so are its powers and their normalized mixture: a
    convex combination for every h and K.

    Args:
        terms: K; the error of the exponential is at most twice the Poisson(hκ) tail beyond K.

    Example:
        >>> z = torch.randn(2, 5, 8)
        >>> x, _ = Uniformization().step(RandomWalkField(8), 0.0, 3.0, z, Context(), ())
        >>> bool((x.amax(1) <= z.amax(1)).all())
        True
    """

    order = 1
    preserves = ((LinearDiffusionField, Invariant.MAXIMUM),)

    def __init__(self, *, terms: int = 6):
        super().__init__()
        self.terms = terms

    def step(
        self,
        field: LinearDiffusionField,
        t: float | Tensor,
        dt: float | Tensor,
        z: Tensor,
        context: Context,
        carry: Any,
    ) -> tuple[Tensor, Any]:
        """The state after the mixture for time ``dt``.   Shape: (b k h) -> (b k h)."""
        w = field.weights(z, context)
        with full_precision(z):
            x = split_heads(z, field.heads)
            stay = 1 - w.sum(-1, keepdim=True)
            rate = dt * field.diffusivity()
            weight = torch.ones_like(rate)
            total = torch.ones_like(rate)
            mixed = x
            for j in range(1, self.terms + 1):
                x = stay * x + w @ x
                weight = weight * rate / j
                mixed = mixed + weight * x
                total = total + weight
            return merge_heads(mixed / total), carry


class Grand(Stack):
    r"""Blocks of: a step of graph diffusion, then a reaction of each token by itself.

        z ← z − hκ (diag(r) − W(z)) z;   z ← z + MLP(LN z) + b ∘ z₀

    The law belongs to the diffusion: every channel stays within its range, and with the symmetric
    field its mean is constant. The reaction, without which many blocks would average all tokens,
    has no law; with ``react=False`` the law holds for the whole stack.

    Args:
        dim: token width h.
        depth: number of blocks.
        field: h -> the diffusion.
        integrator: ``ExplicitDiffusion``, ``ImplicitDiffusion`` or ``Uniformization``.
        react: whether a reaction follows each diffusion.
        ratio: hidden width of the reaction over h.
        h: initial step size; learned between 0 and 1.
        dt: see :class:`fields.processors.stack.Stack`.
        recompute: see :class:`fields.processors.stack.Stack`.

    Reference: Chamberlain et al., ICML 2021.

    Example:
        >>> Grand(8).law.value
        'values never leave the range they start in'
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
