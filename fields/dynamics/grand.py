"""Graph diffusion with attention: tokens move towards averages of others, and never leave the range they start in."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from fields.dynamics.base import Context, Law, VectorField, full_precision
from fields.nn.geometry import Rotary, proximity, rotate
from fields.nn.incidence import merge_heads, split_heads
from fields.nn.weights import Softmax

LENGTHS = (0.05, 1.0)  # initial attention lengths of the heads, in unit coordinates
MAX_FREQUENCY = 8.0  # largest rotation frequency, in turns per domain
SHARPNESS = 2.0  # initial τ
RATES = (-2.0, 2.0)  # initial logits of the heads' diffusivities: some heads keep detail, others smooth


class Diffusion(VectorField):
    """A field for which z + h f(z) stays within the range of z, channel by channel, for every 0 ≤ h ≤ 1."""

    law = Law.MAXIMUM


class LinearDiffusion(Diffusion):
    r"""dz/dt = −κ (diag(r) − W) z with W ≥ 0 and row sums r ≤ 1, a matrix for each head and its slice of the channels.

    The documents write +δ*αδ for the same sum; Σⱼ αᵢⱼ (zⱼ − zᵢ) is −δ*αδ z, and the other sign blows up.
    """

    def __init__(self, dim: int, *, heads: int = 4):
        super().__init__()
        if dim % heads:
            raise ValueError(f"`{type(self).__name__}` has {dim} channels, which {heads} heads cannot share. Use a divisor.")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.log_length = nn.Parameter(torch.linspace(math.log(LENGTHS[0]), math.log(LENGTHS[1]), heads))
        self.rate = nn.Parameter(torch.linspace(*RATES, heads))
        self.rotary = Rotary(dim // heads, max_frequency=MAX_FREQUENCY)
        nn.init.orthogonal_(self.query.weight)

    @abstractmethod
    def weights(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b heads k k"]:
        """W ≥ 0 with row sums at most 1."""

    def diffusivity(self) -> Float[Tensor, "heads 1 1"]:
        """0 < κ < 1 of each head."""
        return self.rate.sigmoid()[:, None, None]

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """κ (W z − r z)."""
        w = self.weights(z, context)
        with full_precision(z):
            x = split_heads(z, self.heads)
            return merge_heads(self.diffusivity() * (w @ x - w.sum(-1, keepdim=True) * x))

    def _turn(self, x: Float[Tensor, "*b heads k e"], context: Context) -> Float[Tensor, "*b heads k e"]:
        """Rotated by position."""
        return x if context.pos is None else rotate(x, self.rotary(context.pos, context.periodic))

    def _geometry(self, context: Context) -> Float[Tensor, "#b heads k k"] | float:
        return 0.0 if context.distance2 is None else proximity(context.distance2, self.log_length)


class RandomWalk(LinearDiffusion):
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

    def weights(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b heads k k"]:
        """A."""
        scale = (z.shape[-1] // self.heads) ** -0.5
        weight = torch.cat([scale * self.query.weight, self.key.weight])
        both = nn.functional.linear(context.shift(self.norm(z)), weight).to(z.dtype)
        query, key = self._turn(rearrange(both, "b k (two heads e) -> two b heads k e", two=2, heads=self.heads), context)
        with full_precision(z):
            return self.softmax((query @ key.mT).add_(self._geometry(context)))

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """κ (A z − z): r is one."""
        w = self.weights(z, context)
        with full_precision(z):
            kappa = repeat(self.rate.sigmoid(), "heads -> (heads e)", e=z.shape[-1] // self.heads)
            return kappa * (merge_heads(w @ split_heads(z, self.heads)) - z)


class SymmetricGrand(LinearDiffusion):
    r"""GRAND with tied queries and keys: diffusion that also conserves the mean and shrinks the norm.

        dz/dt = −κ (diag(r) − W) z / max r,   W = exp(s + f + fᵀ),   s = τ q̂·q̂ᵀ − ‖xᵢ − xⱼ‖²/2ℓ²,   q̂ = q/|q|

    Directions instead of vectors, because the diagonal of W, which moves nothing, would otherwise outweigh all the rest.
    f comes from symmetric Sinkhorn iterations f ← (f − log Σⱼ exp(sᵢⱼ + fⱼ)) / 2. Since r = W1 is the actual row sum,
    1ᵀ(diag(r) − W) = 0 however few iterations there were. W is normalised over rows and columns at once: no softmax.

    Args:
        dim, heads: as everywhere.
        iterations: Sinkhorn iterations; more bring all r closer to 1.

    Reference: Sander et al., AISTATS 2022 (Sinkformers).
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__(dim, heads=heads)
        self.iterations = iterations
        self.log_sharpness = nn.Parameter(torch.full((heads,), math.log(SHARPNESS)))

    def weights(self, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b heads k k"]:
        """W / max r."""
        query = self._turn(split_heads(self.query(context.shift(self.norm(z))), self.heads), context).to(z.dtype)
        query = nn.functional.normalize(query, dim=-1) * (0.5 * self.log_sharpness).exp()[:, None, None]
        with full_precision(z):
            return self._balance(query @ query.mT + self._geometry(context))

    def _balance(self, score: Float[Tensor, "b heads k k"]) -> Float[Tensor, "b heads k k"]:
        score = 0.5 * (score + score.mT)  # symmetric to the last bit
        f = -0.5 * score.logsumexp(-1)
        for _ in range(self.iterations):
            f = 0.5 * (f - (score + f[..., None, :]).logsumexp(-1))
        log_w = score + f[..., None, :] + f[..., :, None]
        return (log_w - log_w.logsumexp(-1).amax(-1)[..., None, None]).exp()


class SaturatedGrand(Diffusion):
    r"""Diffusion whose fluxes saturate: σ where it keeps the law, on the edges.

        dz/dt = −δ*(α σ(δ z)),   (δz)ᵢⱼ = zⱼ − zᵢ,   σ = tanh

    The gradient flow of Σ αᵢⱼ log cosh(zⱼ − zᵢ): the mean is exact and the range is kept, because σ is odd, increasing and
    of slope at most one. σ outside the sum would lose both. Memory grows as k² h.
    """

    def __init__(self, dim: int, *, heads: int = 4, iterations: int = 2):
        super().__init__()
        self.linear = SymmetricGrand(dim, heads=heads, iterations=iterations)

    def forward(self, t: float | Tensor, z: Float[Tensor, "b k h"], context: Context = Context()) -> Float[Tensor, "b k h"]:
        """Σⱼ αᵢⱼ tanh(zⱼ − zᵢ)."""
        w, x = self.linear.weights(z, context), split_heads(z, self.linear.heads)
        flux = (x[..., None, :, :] - x[..., :, None, :]).tanh()
        return merge_heads(self.linear.diffusivity() * (w[..., None] * flux).sum(-2))
