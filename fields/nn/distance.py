"""Distances between tokens, on domains that may close on themselves."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


def chordal(pos: Float[Tensor, "b k d"], periodic: Bool[Tensor, "d"]) -> Float[Tensor, "b k 2*d"]:
    """Positions in a space where straight lines respect periodicity.

        periodic axis (period 1): x → (sin 2πx, cos 2πx) / 2π,    other axis: x → (x, 0)

    Neighbouring points keep their distance to second order, and x = −½ and x = ½ fall together.
    """
    circle = torch.stack([(2 * math.pi * pos).sin(), (2 * math.pi * pos).cos()], dim=-1) / (2 * math.pi)
    line = torch.stack([pos, torch.zeros_like(pos)], dim=-1)
    return rearrange(torch.where(periodic[:, None], circle, line), "b k d two -> b k (d two)")


def squared_distance(
    x: Float[Tensor, "b n d"], y: Float[Tensor, "b m d"], periodic: Bool[Tensor, "d"]
) -> Float[Tensor, "b n m"]:
    """‖x − y‖² along chords, from differences: x² + y² − 2xy would lose the digits that close neighbours need."""
    x, y = chordal(x, periodic), chordal(y, periodic)
    return (x[:, :, None] - y[:, None]).square().sum(-1)
