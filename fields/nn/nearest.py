"""Attention to the nearest keys only."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fields.nn.attention import Attention
from fields.nn.geometry import embed, rotate
from fields.nn.weights import Softmax


class NearestAttention(nn.Module):
    r"""The given attention to the s keys nearest to each query, with weights that end smoothly at the edge of the neighbourhood.

        αᵢ ∝ (1 − rᵢ²/ρ²) exp( scoreᵢ ),    rᵢ = ‖x − xᵢ‖ < ρ

    ρ is the distance of the nearest key that is left out, so the result is continuous in x and does not depend on how ties are
    broken. With at most s keys it is the attention itself. Memory: one number per query and key, which finds the nearest;
    everything else is s times the width per query.

    Args:
        attention: what is restricted; its geometric term counts too.
        nearest: keys s per query.
    """

    def __init__(self, attention: Attention, *, nearest: int):
        super().__init__()
        self.attention, self.nearest, self.softmax = attention, nearest, Softmax()

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"],
        x_k: Float[Tensor, "#b k d"],
        periodic: Bool[Tensor, "d"],
        mask: None = None,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q at x_q gather from tokens z_kv at x_k, all of which are real."""
        asked = self.attention.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic)
        index, squares, window = neighbours(x_q, x_k, periodic, self.nearest)
        batch = torch.arange(len(asked.k), device=z_q.device)[:, None, None]
        near_k, near_v = (rearrange(part, "b heads k e -> b k heads e")[batch, index] for part in (asked.k, asked.v))
        score = einsum(asked.q, near_k, "b heads m e, b m s heads e -> b heads m s") * asked.q.shape[-1] ** -0.5
        if self.attention.locality is not None:
            precision = 0.5 * torch.exp(-2 * self.attention.locality.log_length)
            score = score - precision[:, None, None] * squares[:, None]
        weight = self.softmax(score + window.log()[:, None]).to(asked.v.dtype)
        out = einsum(weight, near_v, "b heads m s, b m s heads e -> b heads m e")
        out = out if asked.turn is None else rotate(out, asked.turn, back=True)
        return self.attention.out(rearrange(out, "b heads m e -> b m (heads e)"))


@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def neighbours(
    y: Float[Tensor, "bq m d"], pos: Float[Tensor, "bk k d"], periodic: Bool[Tensor, "d"], count: int
) -> tuple[Int[Tensor, "b m s"], Float[Tensor, "b m s"], Float[Tensor, "b m s"]]:
    """The nearest keys, their squared distances r² and the window 1 − r²/ρ²; all keys and no window if there are too few."""
    q, k = embed(y, periodic), embed(pos.to(y.dtype), periodic)
    everyone = count >= pos.shape[1]
    if everyone:
        index = torch.arange(pos.shape[1], device=y.device).expand(max(len(q), len(k)), q.shape[1], -1)
    else:
        with torch.no_grad():
            index = torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist").topk(count + 1, largest=False).indices
    at = k[torch.arange(len(k), device=k.device)[:, None, None], index]
    squares = (q[:, :, None] - at).square().sum(-1)
    if everyone:
        return index, squares, torch.ones_like(squares)
    edge = squares[..., -1:].clamp_min(torch.finfo(y.dtype).tiny)
    window = (1 - squares[..., :-1] / edge).clamp_min(1e-12)
    return index[..., :-1], squares[..., :-1], window
