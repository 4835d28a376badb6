"""Attention: one implementation for self, cross and graph attention."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.nn.geometry import Locality, Rotary, rotate

PLAIN_KEYS = 512  # up to so many keys, matmul–softmax–matmul beats the fused kernel in bfloat16 on CPU (benchmarks/attention.py)


def attend(
    q: Float[Tensor, "b heads m e"],
    k: Float[Tensor, "b heads k e"],
    v: Float[Tensor, "b heads k w"],
    *,
    bias: Float[Tensor, "#b #heads m k"] | None = None,
    mask: Bool[Tensor, "#b #heads #m k"] | None = None,
) -> Float[Tensor, "b heads m w"]:
    r"""softmax(q kᵀ/√e + bias) v, over the keys whose mask is True; a row without any such key gives zero.

    Shape: q (b heads m e), k (b heads k e), v (b heads k w) -> (b heads m w).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= PLAIN_KEYS:
        return _attend_plain(q, k, v, bias, mask)
    if mask is not None:
        low = torch.finfo(q.dtype).min
        bias = torch.where(mask, 0.0, low) if bias is None else torch.where(mask, bias, low)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
    return out if mask is None else out * mask.any(-1, keepdim=True)


def _attend_plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    score = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).float()
    if bias is not None:
        score = score + bias
    if mask is not None:
        score = score.masked_fill(~mask, torch.finfo(score.dtype).min)
    weight = score.softmax(-1).to(v.dtype)
    out = torch.matmul(weight, v)
    return out if mask is None else out * mask.any(-1, keepdim=True)


class Attention(nn.Module):
    r"""Multi-head attention between tokens that know where they are.

        out = concat_a [ R(x)ᵀ Σᵢ αᵢ R(xᵢ) vᵢ ] W_O,   α = softmax_i( ⟨R(x) q, R(xᵢ) k⟩/√e − ‖x − xᵢ‖²/(2ℓ_a²) )

    q, k, v are linear in the tokens, split over heads a; R is the rotation by position, ℓ_a a learned length. Everything depends
    on relative positions only: moving all points by the same vector (round a periodic axis) changes nothing.

    Args:
        dim: width of queries and of the result.
        heads: number of heads; divides ``dim``.
        dim_kv: width of the tokens that are attended to, if not ``dim``.
        lengths: range of ℓ over the heads at start-up, in unit coordinates; None leaves the geometric term away.
        max_frequency: largest rotation frequency in turns per domain; 0 leaves the rotation away.
        rotate_values: rotate the values as well, which makes the output a sum of local trigonometric expansions around the keys.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 4,
        dim_kv: int | None = None,
        lengths: tuple[float, float] | None = None,
        max_frequency: float = 0.0,
        rotate_values: bool = False,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"Attention needs heads to divide dim, got dim {dim} and heads {heads}. Take dim a multiple of heads.")
        self.heads, self.rotate_values = heads, rotate_values
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim_kv or dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.locality = Locality(heads=heads, lengths=lengths) if lengths else None
        self.rotary = Rotary(dim // heads, max_frequency=max_frequency) if max_frequency else None

    def forward(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"] | None = None,
        x_k: Float[Tensor, "#b k d"] | None = None,
        periodic: Bool[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q at x_q gather from tokens z_kv at x_k; ``mask`` is True for real tokens."""
        q = rearrange(self.query(z_q), "b m (heads e) -> b heads m e", heads=self.heads)
        k, v = rearrange(self.key_value(z_kv), "b k (two heads e) -> two b heads k e", two=2, heads=self.heads)
        turn_q = bias = None
        if self.locality is not None:
            with torch.autocast(q.device.type, enabled=False):
                columns_q, columns_k = self.locality(x_q, x_k, periodic)
                bias = torch.matmul(columns_q, columns_k.transpose(-1, -2))
        if self.rotary is not None:
            turn_q, turn_k = self.rotary(x_q, periodic), self.rotary(x_k, periodic)
            q, k = rotate(q, turn_q), rotate(k, turn_k)
            v = rotate(v, turn_k) if self.rotate_values else v
        out = attend(q, k, v, bias=bias, mask=None if mask is None else mask[:, None, None])
        if turn_q is not None and self.rotate_values:
            out = rotate(out, turn_q, back=True)
        return self.out(rearrange(out, "b heads m e -> b m (heads e)"))
