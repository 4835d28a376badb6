"""Attention: one implementation for self, cross and graph attention."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.nn.geometry import Locality, Rotary, rotate
from fields.nn.gibbs import Gibbs, gibbs
from fields.nn.masks import causal as causal_mask
from fields.nn.metric import Metric

# Choices among equal results, measured in benchmarks/attention.py, in queries × keys, on CPU.
PLAIN = 2**17  # up to here (twice this with columns) matmul–softmax–matmul trains faster in bfloat16 than the fused kernel
BIAS = 2**18  # up to here, without gradients, adding the product of columns is faster than appending them


def attend(
    q: Float[Tensor, "b heads m e"],
    k: Float[Tensor, "b heads k e"],
    v: Float[Tensor, "b heads k w"],
    *,
    bias: Float[Tensor, "#b #heads m k"] | None = None,
    mask: Bool[Tensor, "#b #heads #m k"] | None = None,
    columns: tuple[Float[Tensor, "#b #heads m c"], Float[Tensor, "#b #heads k c"]] | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "b heads m w"]:
    r"""softmax(scale q kᵀ + cols_q cols_kᵀ + bias) v over the keys whose mask is True; a row without any gives zero.

    A part of the score that is bilinear should come as ``columns``: training then keeps nothing of size m × k for it.
    Columns stay in float32 (or wider) where q is narrower. ``scale`` is 1/√e unless given; ``causal`` lets query i see
    keys 0 … i.

    Shape: q (b heads m e), k (b heads k e), v (b heads k w) -> (b heads m w).
    """
    size, width, on_cpu = q.shape[-2] * k.shape[-2], v.shape[-1], q.device.type == "cpu"
    scale = float(q.shape[-1] ** -0.5) if scale is None else scale
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, *(columns or ())))
    if columns is not None and on_cpu and not learns and size <= BIAS:
        product = torch.matmul(columns[0], columns[1].mT)
        bias, columns = product if bias is None else product + bias, None
    if columns is not None:
        q, k = _append(q, k, columns, scale)
    if causal and (mask is not None or bias is not None):
        lower = causal_mask(q.shape[-2], k.shape[-2], device=q.device)
        mask, causal = lower if mask is None else mask & lower, False
    if on_cpu and learns and q.dtype == torch.bfloat16 and size <= PLAIN * (1 if columns is None else 2):
        return _attend_plain(q, k, v, bias, mask, causal, scale)
    extra = None if bias is None else bias.to(q.dtype)
    if mask is not None:
        extra = q.new_zeros(()) if extra is None else extra
        extra = torch.where(mask, extra, torch.finfo(q.dtype).min)
    v = F.pad(v, (0, q.shape[-1] - width)) if columns is not None else v  # fused kernels want one width
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=extra, is_causal=causal, scale=scale)
    out = out if columns is None else out[..., :width]
    return out if mask is None else out * mask.any(-1, keepdim=True)


def _append(q: Tensor, k: Tensor, columns: tuple[Tensor, Tensor], scale: float) -> tuple[Tensor, Tensor]:
    """[q, cols_q/scale] and [k, cols_k], zeros up to a multiple of 16.

    Where q is narrower than float32 each column goes in as its leading and its trailing digits, x = x₀ + x₁, and
    x y ≈ x₀ y₀ + x₀ y₁ + x₁ y₀ has an error of 2⁻¹⁸ instead of 2⁻⁹.
    """
    cols_q, cols_k = columns[0] / scale, columns[1]
    if q.dtype in (torch.bfloat16, torch.float16):
        lead_q, lead_k = cols_q.to(q.dtype), cols_k.to(q.dtype)
        rest_q, rest_k = (cols_q - lead_q).to(q.dtype), (cols_k - lead_k).to(q.dtype)
        cols_q, cols_k = torch.cat([lead_q, lead_q, rest_q], -1), torch.cat([lead_k, rest_k, lead_k], -1)
    pad = -(q.shape[-1] + cols_q.shape[-1]) % 16

    def beside(x: Tensor, c: Tensor) -> Tensor:
        return torch.cat([x, F.pad(c.to(q.dtype), (0, pad)).expand(*x.shape[:-1], -1)], -1)

    return beside(q, cols_q), beside(k, cols_k)


def _attend_plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    score = torch.matmul(q * scale, k.mT)
    if bias is not None:
        score = score.float() + bias
    if causal:
        mask = causal_mask(*score.shape[-2:], device=q.device)
    if mask is not None:
        score = score.masked_fill(~mask, torch.finfo(score.dtype).min)
    out = torch.matmul(score.softmax(-1).to(v.dtype), v)
    return out if mask is None else out * mask.any(-1, keepdim=True)


class Attention(nn.Module):
    r"""Multi-head attention between tokens that know where they are.

        out = concat_a [ R(x)ᵀ Σᵢ αᵢ R(xᵢ) vᵢ ] W_O,
        α = softmax_i( ⟨R(x) q, R(xᵢ) k⟩_g/√e − ‖x − xᵢ‖²/(2ℓ_a²) )

    q, k, v are linear in the tokens, split over heads a; R is the rotation by position, g a metric (the identity unless
    given), ℓ_a a learned length. While g is the identity everything depends on relative positions only: moving all
    points by the same vector (round a periodic axis) changes nothing.

    Args:
        dim: width of queries and of the result.
        heads: number of heads; divides ``dim``.
        dim_kv: width of the tokens that are attended to, if not ``dim``.
        lengths: range of ℓ over the heads at start-up, in unit coordinates; None leaves the geometric term away.
        max_frequency: largest rotation frequency in turns per domain; 0 leaves the rotation away.
        rotate_values: rotate the values too: the output is then a sum of local trigonometric expansions about the keys.
        metric: g, built for the width per head, ``dim // heads``.
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
        metric: Metric | None = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"Attention needs heads to divide dim, got dim {dim} and heads {heads}. Take dim a multiple of heads."
            )
        if metric is not None and metric.matrix().shape[-1] != dim // heads:
            raise ValueError(
                f"Attention compares {dim // heads} channels per head but the metric has {metric.matrix().shape[-1]}. "
                "Build it with width dim // heads."
            )
        self.heads, self.rotate_values, self.metric = heads, rotate_values, metric
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
        allowed: Bool[Tensor, "#b #heads m k"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "b m h"]:
        """Queries z_q at x_q gather from tokens z_kv at x_k.

        ``mask`` is True for real tokens, ``allowed`` where a query may look at a key (see `fields.nn.masks`) and
        ``causal`` lets query i see keys 0 … i; all hold at once.
        """
        q, k, v, columns, turn_q = self.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic)
        out = attend(q, k, v, columns=columns, mask=_both(mask, allowed), causal=causal)
        if turn_q is not None and self.rotate_values:
            out = rotate(out, turn_q, back=True)
        return self.out(rearrange(out, "b heads m e -> b m (heads e)"))

    def scores(
        self,
        z_q: Float[Tensor, "b m h"],
        z_kv: Float[Tensor, "b k c"],
        *,
        x_q: Float[Tensor, "#b m d"] | None = None,
        x_k: Float[Tensor, "#b k d"] | None = None,
        periodic: Bool[Tensor, "d"] | None = None,
        mask: Bool[Tensor, "#b k"] | None = None,
        allowed: Bool[Tensor, "#b #heads m k"] | None = None,
        causal: bool = False,
    ) -> tuple[Float[Tensor, "b heads m k"], Bool[Tensor, "#b #heads #m k"]]:
        """What the weights are made of, for looking inside: scores in float32 at least, and which of them count."""
        q, k, _, columns, _ = self.project(z_q, z_kv, x_q=x_q, x_k=x_k, periodic=periodic)
        with torch.autocast(q.device.type, enabled=False):
            wide = torch.promote_types(q.dtype, torch.float32)
            score = torch.matmul(q.to(wide) * q.shape[-1] ** -0.5, k.to(wide).mT)
            score = score if columns is None else score + torch.matmul(columns[0], columns[1].mT)
        some = torch.ones(1, 1, *score.shape[-2:], dtype=torch.bool, device=q.device)
        both = _both(mask, allowed)
        some = some.tril() if causal else some
        return score, some if both is None else some & both

    def weights(self, *args: Tensor, **kwargs: Tensor | bool | None) -> Float[Tensor, "b heads m k"]:
        """α for the same arguments as `forward`; of a row without keys all are zero."""
        score, some = self.scores(*args, **kwargs)
        return score.masked_fill(~some, torch.finfo(score.dtype).min).softmax(-1) * some

    def stats(self, *args: Tensor, **kwargs: Tensor | bool | None) -> Gibbs:
        """Statistics of the weights for the same arguments as `forward`, one per head and query (b heads m)."""
        score, some = self.scores(*args, **kwargs)
        return gibbs(score, mask=some)

    def project(
        self, z_q: Tensor, z_kv: Tensor, *, x_q: Tensor | None, x_k: Tensor | None, periodic: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]:
        """q, k, v (b heads · e), turned by their places; columns of the geometric term; the turn of the queries."""
        q = rearrange(self.query(z_q), "b m (heads e) -> b heads m e", heads=self.heads)
        k, v = rearrange(self.key_value(z_kv), "b k (two heads e) -> two b heads k e", two=2, heads=self.heads)
        columns = turn_q = None
        if self.locality is not None:
            with torch.autocast(q.device.type, enabled=False):
                columns = self.locality(x_q, x_k, periodic)
        if self.rotary is not None:
            turn_q, turn_k = self.rotary(x_q, periodic), self.rotary(x_k, periodic)
            q, k = rotate(q, turn_q), rotate(k, turn_k)
            v = rotate(v, turn_k) if self.rotate_values else v
        return (q if self.metric is None else self.metric(q)), k, v, columns, turn_q


def _both(mask: Tensor | None, allowed: Tensor | None) -> Tensor | None:
    """Padding and structure at once."""
    if mask is None:
        return allowed
    return mask[:, None, None] if allowed is None else mask[:, None, None] & allowed
