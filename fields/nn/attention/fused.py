"""Cross-attention at inference, with all products that do not depend on the query precomputed."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.core.sample import Latent
from fields.nn.attention.kernels import attention_kernel
from fields.nn.attention.multihead import Attention
from fields.nn.attention.nearest import NearestAttention
from fields.nn.blocks import TransformerBlock
from fields.nn.geometry import Rotary


class FusedCrossAttention:
    r"""`TransformerBlock` and the linear map before it, fused for queries without gradients.

        z = W φ + c,    q = Q LN(z) + b_Q = (Q C W φ + Q C c)/σ(z) + b_Q,    C = diag(g)(1 − 11ᵀ/h)

    W and Q C W are one matrix; g, and the bias of the second norm, are absorbed into the matrices
    that follow. With (1 − 11ᵀ/h) W = O R and O orthogonal, σ²(z) = ‖R φ‖²/h is computed from the
    features before z is (the bias c is one of their columns). Channels that rotate together are
    adjacent, so that a rotation is one complex product. The result equals that of the block up to
    rounding, in two thirds of its time. Hooks on the block and its attention are not called.

    Args:
        block: the block to fuse; its attention rotates keys and values.
        weight: W (h f).
        bias: c (h).
        latent: the tokens that queries attend to.

    Example:
        >>> attention = Attention(
        ...     8, heads=2, lengths=(0.1, 1.0), max_frequency=4.0, rotate_values=True
        ... )
        >>> block = TransformerBlock(8, attention, dim_source=8)
        >>> latent = Latent(torch.ones(2, 5, 8), torch.rand(1, 5, 1), torch.tensor([False]))
        >>> with torch.no_grad():
        ...     fused = FusedCrossAttention(block, torch.ones(8, 3), torch.zeros(8), latent)
        ...     fused(torch.rand(1, 4, 3), torch.rand(1, 4, 1)).shape
        torch.Size([2, 4, 8])
    """

    def __init__(
        self,
        block: TransformerBlock,
        weight: Float[Tensor, "h f"],
        bias: Float[Tensor, "h"],
        latent: Latent,
    ):
        attention = unwrapped(block)
        assert attention.rotary is not None and attention.locality is not None
        self.rotary = attention.rotary
        self.locality = attention.locality
        self.heads = attention.heads
        self.layer = block.attention
        self.latent = latent
        self.eps = block.norm.eps
        self.eps_mlp = block.norm_mlp.eps
        # channels that rotate together become adjacent
        order = torch.arange(len(bias), device=bias.device).reshape(self.heads, 2, -1).mT.flatten()
        query = attention.query.weight[order] * block.norm.weight
        query = query - query.mean(-1, keepdim=True)
        # the bias as one more column: adding it would cost a pass over z and q
        both = torch.cat([weight, bias[:, None]], dim=1)
        late = torch.cat([weight, (bias + attention.out.bias)[:, None]], dim=1)
        self.lift = torch.cat([late, query @ both])
        self.root = torch.linalg.qr((both - both.mean(0)) * len(bias) ** -0.5, mode="r")[1]
        self.shift = F.linear(block.norm.bias, attention.query.weight, attention.query.bias)[order]
        self.out = attention.out.weight[:, order].T
        first = cast(nn.Linear, block.mlp.layers[0])
        last = cast(nn.Linear, block.mlp.layers[-1])
        self.first = (
            first.weight * block.norm_mlp.weight,
            F.linear(block.norm_mlp.bias, first.weight, first.bias),
        )
        self.last = last.weight.T, last.bias
        k, v = (part[..., order] for part in attention.key_value(latent.z).chunk(2, dim=-1))
        turn = rotary_phases(self.rotary, latent.pos, latent.periodic)
        self.k = self._turned(k, turn)
        self.v = self._turned(v, turn)

    @staticmethod
    def possible(block: TransformerBlock) -> bool:
        """Whether no gradients, low precision, hooks or compilation prevent the fused path."""
        weight = block.norm.weight
        watched = any(
            module._forward_hooks or module._forward_pre_hooks for module in block.modules()
        )
        half = torch.is_autocast_enabled(weight.device.type) or weight.dtype not in (
            torch.float32,
            torch.float64,
        )
        turned = unwrapped(block).rotary is not None
        return turned and not (
            torch.is_grad_enabled() or half or watched or torch.compiler.is_compiling()
        )

    def __call__(
        self, features: Float[Tensor, "#b m f"], y: Float[Tensor, "#b m d"]
    ) -> Float[Tensor, "b m h"]:
        """The output of the block for z = W φ + c at the points y, for every sample."""
        features = F.pad(features, (0, 1), value=1.0)
        z, q = F.linear(features, self.lift).chunk(2, dim=-1)
        variance = torch.linalg.vector_norm(
            F.linear(features, self.root), dim=-1, keepdim=True
        ).square()
        spread = (variance + self.eps).rsqrt()
        turn = rotary_phases(self.rotary, y, self.latent.periodic)
        o = self._gather(self._turned(torch.addcmul(self.shift, q, spread), turn), y)
        o = to_channels(to_complex(o) * turn.conj()).flatten(2)
        z = z.expand_as(o).flatten(0, 1).addmm(o.flatten(0, 1), self.out)
        n = F.gelu(F.linear(F.layer_norm(z, z.shape[-1:], eps=self.eps_mlp), *self.first))
        return z.add_(self.last[1]).addmm_(n, self.last[0]).view_as(o)

    def _turned(
        self, rows: Float[Tensor, "b n h"], turn: Complex[Tensor, "#b n 1 p"]
    ) -> Float[Tensor, "b n heads e"]:
        return to_channels(to_complex(rows.unflatten(-1, (self.heads, -1))) * turn)

    def _gather(
        self, q: Float[Tensor, "#b m heads e"], y: Float[Tensor, "#b m d"]
    ) -> Float[Tensor, "b m heads e"]:
        where = y, self.latent.pos, self.latent.periodic
        q = q.expand(len(self.k), -1, -1, -1)
        if isinstance(self.layer, NearestAttention):
            return self.layer.gather(q, self.k, self.v, *where)
        q, k, v = (rearrange(part, "b n heads e -> b heads n e") for part in (q, self.k, self.v))
        return rearrange(
            attention_kernel(q, k, v, columns=self.locality(*where)), "b heads m e -> b m heads e"
        )


def unwrapped(block: TransformerBlock) -> Attention:
    """The `Attention` of the block, also if it is restricted to the nearest keys."""
    layer = block.attention
    return cast(Attention, layer.attention if isinstance(layer, NearestAttention) else layer)


def rotary_phases(
    rotary: Rotary, x: Float[Tensor, "b n d"], periodic: Bool[Tensor, "d"]
) -> Complex[Tensor, "b n 1 p"]:
    """exp(iθ) for every pair of channels at the points x."""
    return rearrange(torch.complex(*rotary(x, periodic)), "b 1 n p -> b n 1 p")


def to_complex(rows: Float[Tensor, "b n heads e"]) -> Complex[Tensor, "b n heads p"]:
    """Pairs of adjacent channels as complex numbers, p = e/2."""
    return torch.view_as_complex(rows.unflatten(-1, (-1, 2)))


def to_channels(numbers: Complex[Tensor, "b n heads p"]) -> Float[Tensor, "b n heads e"]:
    """Inverse of `to_complex`, e = 2p."""
    return torch.view_as_real(numbers).flatten(-2)
