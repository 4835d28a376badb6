r"""Modern continuous Hopfield networks, in which attention is a step that decreases an energy.

    E(ξ) = ½|ξ|² − (1/β) log Σᵢ exp(β xᵢ·ξ),    ∇E = ξ − Σᵢ pᵢ xᵢ,    p = softmax(β X ξ)

One step ξ ← ξ − γ ∇E with γ = 1 is attention with keys and values X. E never increases for
0 ≤ γ ≤ 2: E is ½|ξ|² minus a convex function, which lies above its tangent, so that
E(ξ₁) ≤ E(ξ) − γ (1 − γ/2) |∇E|².

Reference: Ramsauer et al. 2020, Hopfield Networks is All You Need.

Shape: states ξ (*b m e), patterns X (*b k e).
"""

from __future__ import annotations

import math

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fields.nn.attention.gradients import bilinear, log_sum_exp
from fields.nn.attention.kernels import attention_kernel
from fields.nn.attention.multihead import Attention
from fields.nn.attention.statistics import attention_statistics

GLOBAL = 0
METASTABLE = 1
SINGLE = 2


def hopfield_energy(
    states: Float[Tensor, "*b m e"],
    patterns: Float[Tensor, "*#b k e"],
    *,
    beta: float = 1.0,
    mask: Bool[Tensor, "*#b #m k"] | None = None,
) -> Float[Tensor, "*b m"]:
    """The energy E(ξ) of each state."""
    return 0.5 * states.square().sum(-1) - log_sum_exp(bilinear(states, patterns), beta, mask)[0]


def hopfield_energy_grad(
    states: Float[Tensor, "*b m e"],
    patterns: Float[Tensor, "*#b k e"],
    *,
    beta: float = 1.0,
    mask: Bool[Tensor, "*#b #m k"] | None = None,
) -> Float[Tensor, "*b m e"]:
    """The gradient ∇E(ξ) of each state."""
    return states - log_sum_exp(bilinear(states, patterns), beta, mask)[1] @ patterns


def retrieve(
    states: Float[Tensor, "b heads m e"],
    patterns: Float[Tensor, "b heads k e"],
    values: Float[Tensor, "b heads k w"] | None = None,
    *,
    beta: float | None = None,
    steps: int = 1,
    damping: float = 1.0,
    tolerance: float = 0.0,
    mask: Bool[Tensor, "#b #heads #m k"] | None = None,
) -> Float[Tensor, "b heads m w"]:
    """Take ``steps`` steps ξ ← ξ − γ ∇E. With ``values``, the last step returns their mean.

    One step with values equals attention.

    Args:
        states: ξ, the queries.
        patterns: X, the keys.
        values: replace the patterns in the last step.
        beta: inverse temperature β, by default 1/√e.
        steps: number of steps.
        damping: γ in 0 < γ ≤ 2.
        tolerance: stop early if no state moves by more than this.
        mask: True where a state may retrieve a pattern.

    Example:
        >>> states, patterns = torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 5, 4)
        >>> retrieve(states, patterns, steps=2).shape
        torch.Size([1, 1, 3, 4])
    """
    if not 0 < damping <= 2:
        raise ValueError(
            f"retrieve got damping {damping}, but the energy is only guaranteed to decrease for "
            "0 < γ ≤ 2. Take γ ≤ 1."
        )
    for _ in range(steps if values is None else steps - 1):
        moved = torch.lerp(
            states, attention_kernel(states, patterns, patterns, mask=mask, scale=beta), damping
        )
        done = tolerance > 0 and bool((moved - states).norm(dim=-1).max() <= tolerance)
        states = moved
        if done:
            break
    return (
        states
        if values is None
        else attention_kernel(states, patterns, values, mask=mask, scale=beta)
    )


def retrieval_regime(
    states: Float[Tensor, "*b m e"], patterns: Float[Tensor, "*#b k e"], *, beta: float = 1.0
) -> tuple[Int[Tensor, "*b m"], Float[Tensor, "*b m"]]:
    """The kind of fixed point that a state is attracted to, and the number exp(H) of patterns.

    SINGLE if a state averages fewer than 1.5 patterns, GLOBAL if more than half of all patterns,
    METASTABLE otherwise.

    Reference: Ramsauer et al. 2020, section 2.
    """
    number = attention_statistics(bilinear(states, patterns), beta=beta).entropy.exp()
    kind = torch.full_like(number, METASTABLE, dtype=torch.long)
    return kind.masked_fill(number > patterns.shape[-2] / 2, GLOBAL).masked_fill(
        number < 1.5, SINGLE
    ), number


class HopfieldLayer(nn.Module):
    r"""Attention with inner iterations: queries retrieve keys repeatedly before they read values.

        Q₀ = z W_Q,   K = y W_K,   V = y W_V,
        Qₙ₊₁ = Qₙ − γ (Qₙ − softmax(β Qₙ Kᵀ) K),   out = softmax(β Q Kᵀ) V W_O

    With ``steps=1`` this equals `Attention` without positions. β = 1/√e.

    Reference: Ramsauer et al. 2020, section 3.

    Args:
        dim: width of queries and of the result.
        heads: number of heads; divides ``dim``.
        dim_kv: width of the tokens to retrieve from, by default ``dim``.
        steps: number of steps, the one that reads values included.
        damping: γ in 0 < γ ≤ 2.

    Example:
        >>> HopfieldLayer(8)(torch.ones(1, 3, 8), torch.ones(1, 5, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        dim_kv: int | None = None,
        steps: int = 2,
        damping: float = 1.0,
    ):
        super().__init__()
        self.steps = steps
        self.damping = damping
        self.attention = Attention(dim, heads=heads, dim_kv=dim_kv)

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        mask: Bool[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q retrieve from tokens z_kv; ``mask`` is True for real tokens."""
        asked = self.attention.project(z_q, z_kv, mask=mask)
        q = retrieve(asked.q, asked.k, steps=self.steps - 1, damping=self.damping, mask=asked.mask)
        return self.attention.gather(asked._replace(q=q))


class PatternDensity(nn.Module):
    r"""The Boltzmann distribution of a Hopfield energy, with its exact partition function.

        p(ξ) = exp(−β E(ξ)) / Z,    log Z = (d/2) log(2π/β) + log Σᵢ exp(½ β |xᵢ|²)

    It is the Gaussian mixture with means xᵢ, covariance 1/β and weights softmax(½ β |xᵢ|²), and can
    be fitted by maximum likelihood.

    Args:
        dim: number d of channels of a pattern.
        patterns: number of patterns.
        beta: inverse temperature β.

    Example:
        >>> density = PatternDensity(2, patterns=3)
        >>> density(torch.zeros(5, 2)).shape, density.sample(4).shape
        (torch.Size([5]), torch.Size([4, 2]))
    """

    def __init__(self, dim: int, *, patterns: int, beta: float = 1.0):
        super().__init__()
        self.beta = beta
        self.patterns = nn.Parameter(torch.randn(patterns, dim) / math.sqrt(dim))

    def log_partition(self) -> Float[Tensor, ""]:
        """log Z in closed form."""
        d = self.patterns.shape[-1]
        return 0.5 * d * math.log(2 * math.pi / self.beta) + self._own().logsumexp(-1)

    def forward(self, states: Float[Tensor, "m d"]) -> Float[Tensor, "m"]:
        """log p(ξ) of each state."""
        return (
            -self.beta * hopfield_energy(states, self.patterns, beta=self.beta)
            - self.log_partition()
        )

    def loss_grad(self, states: Float[Tensor, "m d"]) -> Float[Tensor, "k d"]:
        """Gradient of L = −⟨log p⟩ with respect to the patterns.

        ∂L/∂xᵢ = −β ⟨pᵢ(ξ) ξ⟩ + β softmax(½ β |x|²)ᵢ xᵢ
        """
        p = log_sum_exp(bilinear(states, self.patterns), self.beta)[1]
        seen = einsum(p, states, "m k, m d -> k d") / len(states)
        return self.beta * (self._own().softmax(-1)[:, None] * self.patterns - seen)

    def sample(self, number: int) -> Float[Tensor, "m d"]:
        """Independent samples from p."""
        with torch.no_grad():
            which = torch.multinomial(self._own().softmax(-1), number, replacement=True)
            return self.patterns[which] + torch.randn_like(self.patterns[which]) / math.sqrt(
                self.beta
            )

    def _own(self) -> Tensor:
        return 0.5 * self.beta * self.patterns.square().sum(-1)
