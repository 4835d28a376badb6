"""Retrieval from an associative memory."""

from __future__ import annotations

from fields.dynamics.memory import Recall
from fields.integrators.recall import RetrievalStep
from fields.processors.block import Block
from fields.processors.stack import Stack


class Associative(Stack):
    r"""Tokens retrieve, again and again, from learned patterns of neighbourhoods.

        z ← z − h ∇E(z),    E(z) = ½|z|² − Σₕ (1/βₕ) Σₙ log Σ_μ exp(βₕ ξ_μ·(Pₕ z Wₕ)ₙ)

    One energy throughout, and it never rises, at any step size that can be learned. Retrieval cleans up tokens: what is
    stored attracts, what is not fades.

    Args:
        dim: token width h.
        heads, patterns, lengths: as in :class:`fields.dynamics.memory.PatternEnergy`.
        steps: number of retrievals.
        h: step size at the start; learned between 0 and 2.
        dt, recompute: as in :class:`fields.processors.stack.Stack`.

    Reference: Ramsauer et al. 2020; Hoover et al. 2023 for the use as a layer.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        patterns: int | None = None,
        lengths: tuple[float, float] = (0.05, 0.5),
        steps: int = 4,
        h: float = 0.5,
        dt: float = 1.0,
        recompute: bool = False,
    ):
        field = Recall(dim, heads=heads, patterns=patterns, lengths=lengths)
        block = Block(field=field, integrator=RetrievalStep(), steps=steps, h=h, h_max=2.0)
        super().__init__([block], dt=dt, recompute=recompute)
