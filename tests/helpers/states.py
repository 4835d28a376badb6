"""Tokens to try processors, fields and energies on."""

from __future__ import annotations

import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from helpers.walk import DIM, TOKENS


def tokens(batch: int = 3, n: int = TOKENS, dtype=torch.float64, seed: int = 0) -> Latent:
    """Random tokens at random positions on a domain with one periodic axis."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, n, DIM, generator=g, dtype=torch.float64).to(dtype)
    pos = torch.rand(1, n, 2, generator=g, dtype=torch.float64).to(dtype) - 0.5
    return Latent(z, pos, torch.tensor([True, False]))


def conditioning(batch: int = 3, dtype=torch.float64) -> torch.Tensor:
    """A conditioning vector for each sample."""
    return torch.randn(batch, DIM, generator=torch.Generator().manual_seed(2), dtype=dtype)


def permuted(latent: Latent, equivariant: bool) -> tuple[Latent, torch.Tensor]:
    """The same tokens in another order and that order; a shift by one where tokens are a grid."""
    n = latent.z.shape[1]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    order = order if equivariant else torch.arange(n).roll(1)
    return latent._replace(z=latent.z[:, order], pos=latent.pos[:, order]), order


def context(latent: Latent, cond: torch.Tensor | None = None) -> Context:
    return Context.of(latent, cond)
