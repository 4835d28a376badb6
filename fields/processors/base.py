"""The base class of processors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from fields.core.component import Component
from fields.core.sample import Latent


class Processor(Component, ABC):
    """Evolves tokens.

    The contract of a subclass:

    - Constructor ``(dim, *, …)`` with ``dim`` the token width h; all other arguments are keywords
      with defaults, except ``tokens`` (tokens per axis) where the tokens are a periodic grid. The
      arguments are numbers, strings, tuples, components, or classes of modules, so that
      ``describe`` can write them into a checkpoint and ``build`` can make the processor again.
    - ``forward(latent, cond, t)`` returns tokens of the same shape and dtype, float32 or float64,
      with positions and periodic axes unchanged. Samples of a batch do not influence each other,
      and one token is enough.
    - ``cond`` (b h) changes the answer, or is refused by a ``ValueError``.
    - ``t``: ascending times (s). A processor that is a flow in time returns the state at each,
      stacked as (b·s k h) with s the fastest index; others ignore it.
    - ``permutation_equivariant``: permuting tokens with their positions permutes the answer. False
      where tokens are a periodic grid in row-major order: the answer then commutes with shifts
      along the grid.
    - ``uses_positions``: whether the answer depends on positions. Axes declared periodic close on
      themselves: positions that differ by a period are the same.
    - A gradient reaches every parameter after a few updates, and the module compiles as one graph.

    ``tests/processors/test_conformance.py`` finds every subclass in ``fields.processors`` and
    ``fields.flows`` and checks all of this. A processor with a law (a subclass of ``Stack``) is
    also verified over 1000 steps in both precisions.

    Example:
        >>> import torch
        >>> from fields.processors import Transformer
        >>> pos, periodic = torch.rand(1, 5, 2), torch.tensor([True, False])
        >>> latent = Latent(torch.randn(2, 5, 16), pos, periodic)
        >>> Transformer(16, depth=1)(latent).z.shape
        torch.Size([2, 5, 16])
    """

    permutation_equivariant: bool = True
    uses_positions: bool = True

    @abstractmethod
    def forward(
        self,
        latent: Latent,
        cond: Float[Tensor, "b h"] | None = None,
        t: Float[Tensor, "s"] | None = None,
    ) -> Latent:
        """The evolved tokens.   Shape: z (b k h) -> (b k h), or (b·s k h) at s times."""
