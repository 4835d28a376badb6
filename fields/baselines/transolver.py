"""Attention among slices of the domain, for any set of points."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.baselines.base import InputPointOperator
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.nn.attention.kernels import attention_kernel
from fields.nn.attention.weights import softmax
from fields.nn.blocks import MLP
from fields.nn.embeddings import Position


class Transolver(InputPointOperator):
    r"""Points are shared out among a few slices by what they are, slices attend to each other, and points read them back.

        w_j(x) = softmax_j(z(x) A/τ),   t_j = Σ_x w_j(x) z(x) / Σ_x w_j(x),   z(x) ← z(x) + Σ_j w_j(x) Attn(t)_j

    Linear in the number of points. The slices are means over the points, so a finer sampling of the
    same function changes little; it answers at the points of its input, on grids of any resolution
    and on clouds.

    Reference: Wu et al., ICML 2024.

    Args:
        schema, normalizer: the problem.
        width: channels per point.
        depth: blocks.
        heads: attention heads.
        slices: slices per head.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        normalizer: Normalizer,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        slices: int = 32,
    ):
        super().__init__(schema=schema, normalizer=normalizer)
        if width % heads:
            raise ValueError(
                f"Transolver needs heads to divide width, got {heads} and {width}. Take a multiple of heads."
            )
        self.position = Position(width, schema)
        self.lift = MLP(
            schema.in_channels + len(schema.params), out=width, ratio=2 * width / schema.in_channels
        )
        self.blocks = nn.ModuleList(SliceBlock(width, heads, slices) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, schema.out_channels))

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """See `InputPointOperator`."""
        u = self.normalizer.inputs(batch.u, batch.params)
        constants = self.normalizer.params(batch.params)[:, None].expand(-1, u.shape[1], -1)
        z = self.lift(torch.cat([u, constants], dim=-1)) + self.position(
            self.normalizer.points(batch.x)
        )
        for block in self.blocks:
            z = block(z, batch.x_mask)
        return self.head(z)


class SliceBlock(nn.Module):
    """Pre-norm residual block of slice attention and MLP."""

    def __init__(self, width: int, heads: int, slices: int):
        super().__init__()
        each = width // heads
        self.heads = heads
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.share = nn.Linear(width, heads * slices)
        self.log_temperature = nn.Parameter(torch.full((heads, 1, 1), 0.5).log())
        self.query_key_value = nn.Linear(each, 3 * each, bias=False)
        self.mlp = MLP(width)

    def forward(
        self, z: Float[Tensor, "b n h"], mask: Bool[Tensor, "#b n"]
    ) -> Float[Tensor, "b n h"]:
        """Points that the mask leaves out belong to no slice."""
        y = self.norm(z)
        score = (
            rearrange(self.share(y), "b n (a j) -> b a n j", a=self.heads)
            / self.log_temperature.exp()
        )
        w = softmax(score)  # over slices, not over keys
        held = w * mask[:, None, :, None]
        values = rearrange(self.value(y), "b n (a e) -> b a n e", a=self.heads)
        t = einsum(held, values, "b a n j, b a n e -> b a j e") / held.sum(2)[..., None].clamp_min(
            1e-6
        )
        t = attention_kernel(*self.query_key_value(t).chunk(3, dim=-1))
        z = z + self.out(
            rearrange(einsum(w, t, "b a n j, b a j e -> b a n e"), "b a n e -> b n (a e)")
        )
        return z + self.mlp(self.norm_mlp(z))
