"""softmax(score) v by the fastest of several equivalent paths; every attention layer calls it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fields.nn.attention.masks import causal_mask as causal_mask

# Thresholds in queries × keys on a CPU, measured by benchmarks/attention.py. All paths are equal.

# In bfloat16, training with matmul–softmax–matmul is faster than the fused kernel up to this size
# (twice this size with columns).
PLAIN = 2**17

# Without gradients, adding the product of columns is faster than appending them up to this size.
BIAS = 2**18

# In float32 that holds for any number of keys up to this many queries, because copying the keys
# would cost more than the product.
FEW = 256


def attention_kernel(
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
    r"""softmax(scale q kᵀ + cols_q cols_kᵀ + bias) v over the keys whose mask is True.

    A query without such keys gives zero. A bilinear part of the score should be passed as
    ``columns``, because training then stores no matrix of size m × k for it.

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: added to the scores.
        mask: True where a query may attend to a key.
        columns: columns appended to queries and keys, kept in float32 (or wider) if q is narrower.
        causal: query i attends only to keys 0 … i.
        scale: factor of q kᵀ, by default 1/√e.

    Shape: q (b heads m e), k (b heads k e), v (b heads k w) -> (b heads m w).

    Example:
        >>> q, k, v = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 5, 4), torch.ones(1, 2, 5, 6)
        >>> attention_kernel(q, k, v).shape
        torch.Size([1, 2, 3, 6])
    """
    size = q.shape[-2] * k.shape[-2]
    on_cpu = q.device.type == "cpu"
    scale = float(q.shape[-1] ** -0.5) if scale is None else scale
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, *(columns or ())))
    # in an exported program m is any number
    few = q.dtype == torch.float32 and (torch.compiler.is_exporting() or q.shape[-2] <= FEW)
    if columns is not None and on_cpu and not learns and (few or size <= BIAS):
        product = torch.matmul(columns[0], columns[1].mT)
        bias = product if bias is None else product + bias
        columns = None
    if columns is not None:
        q, k = _append(q, k, columns, scale)
    if causal and (mask is not None or bias is not None):
        lower = causal_mask(q.shape[-2], k.shape[-2], device=q.device)
        mask = lower if mask is None else mask & lower
        causal = False
    narrow = on_cpu and learns and q.dtype == torch.bfloat16
    if narrow and size <= PLAIN * (1 if columns is None else 2):
        return _attend_plain(q, k, v, bias, mask, causal, scale)
    # there the kernel accepts a boolean mask, and empty rows give zero without further work
    bare = on_cpu and bias is None
    extra = mask if bare else _masked_bias(q, bias, mask)
    # Fused kernels need q, k and v of equal width.
    w = v if columns is None else F.pad(v, (0, q.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(q, k, w, attn_mask=extra, is_causal=causal, scale=scale)
    out = out if columns is None else out[..., : v.shape[-1]]
    return out if mask is None or bare else out * mask.any(-1, keepdim=True)


def _masked_bias(
    q: Float[Tensor, "b heads m e"],
    bias: Float[Tensor, "#b #heads m k"] | None,
    mask: Bool[Tensor, "#b #heads #m k"] | None,
) -> Float[Tensor, "#b #heads m k"] | None:
    """What is added to the scores: the bias, and the smallest number where the mask is False."""
    added = None if bias is None else bias.to(q.dtype)
    if mask is None:
        return added
    added = q.new_zeros(()) if added is None else added
    return torch.where(mask, added, torch.finfo(q.dtype).min)


def _append(
    q: Tensor, k: Tensor, columns: tuple[Tensor, Tensor], scale: float
) -> tuple[Tensor, Tensor]:
    """[q, cols_q/scale] and [k, cols_k], padded with zeros to a multiple of 16 channels.

    If q is narrower than float32, each column is split into leading and trailing digits,
    x = x₀ + x₁, and x y ≈ x₀ y₀ + x₀ y₁ + x₁ y₀ has an error of 2⁻¹⁸ instead of 2⁻⁹.
    """
    cols_q = columns[0] / scale
    cols_k = columns[1]
    if q.dtype in (torch.bfloat16, torch.float16):
        lead_q = cols_q.to(q.dtype)
        lead_k = cols_k.to(q.dtype)
        rest_q = (cols_q - lead_q).to(q.dtype)
        rest_k = (cols_k - lead_k).to(q.dtype)
        cols_q = torch.cat([lead_q, lead_q, rest_q], -1)
        cols_k = torch.cat([lead_k, rest_k, lead_k], -1)
    pad = -(q.shape[-1] + cols_q.shape[-1]) % 16

    def beside(x: Tensor, c: Tensor) -> Tensor:
        return torch.cat([x, F.pad(c.to(q.dtype), (0, pad)).expand(*x.shape[:-1], -1)], -1)

    return beside(q, cols_q), beside(k, cols_k)


def _attend_plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    causal: bool,
    scale: float,
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
