"""Attention masks: True where a query (row) may attend to a key (column); combined by ``&``."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(m: int, k: int, *, device: torch.device | str | None = None) -> Bool[Tensor, "m k"]:
    """Lower triangular mask: query i attends to keys 0 … i."""
    return torch.ones(m, k, dtype=torch.bool, device=device).tril()


def neighbor_mask(
    edges: Int[Tensor, "2 edges"], m: int, k: int, *, itself: bool = False
) -> Bool[Tensor, "m k"]:
    """Query i attends to key j if (i, j) is a column of ``edges``, and to key i with ``itself``."""
    mask = torch.zeros(m, k, dtype=torch.bool, device=edges.device)
    mask[edges[0], edges[1]] = True
    return mask.fill_diagonal_(True) if itself else mask


def block_mask(
    group_q: Int[Tensor, "*b m"], group_k: Int[Tensor, "*b k"]
) -> Bool[Tensor, "*b m k"]:
    """Queries attend to keys of their own group: samples packed into one row, or windows."""
    return group_q[..., :, None] == group_k[..., None, :]
