"""Transolver: attention between learned slices of the domain, for any set of points."""

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
from fields.nn.embeddings import PositionEmbedding


class Transolver(InputPointOperator):
    r"""z(x) ← z(x) + Σ_j w_j(x) Attn(t)_j,   w_j(x) = softmax_j(z(x) A/τ)

        t_j = Σ_x w_j(x) z(x) / Σ_x w_j(x)

    The weights w assign the points to a few slices j, whose means t attend to each other. The cost
    is linear in the number of points, which may be scattered or a grid of any resolution. Since the
    slices are means over points, a finer sampling of the same function changes little.

    Reference: Wu et al., ICML 2024.

    Args:
        schema, normalizer: the problem.
        width: number of channels per point.
        depth: number of blocks.
        heads: number of attention heads.
        slices: number of slices per head.

    Raises:
        ValueError: `width` is not a multiple of `heads`.

    Example:
        >>> from fields import Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = Transolver(schema=schema, normalizer=normalizer, width=8, depth=1)
        >>> x, mask = torch.rand(1, 30, 1), torch.ones(1, 30) > 0
        >>> batch = Sample(x, torch.rand(2, 30, 1), mask, x, torch.zeros(2, 1, 30, 1), mask,
        ...                torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 30, 1])
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
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        if width % heads:
            raise ValueError(
                f"Transolver needs `heads` to divide `width`, got {heads} and {width}. "
                f"Use for example a width of {heads * max(1, width // heads)}."
            )
        self.position = PositionEmbedding(width, schema)
        self.lift = MLP(
            schema.in_channels + len(schema.params), out=width, ratio=2 * width / schema.in_channels
        )
        self.blocks = nn.ModuleList(SliceBlock(width, heads, slices) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, schema.out_channels))

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """Lift the inputs, apply the blocks, and read the outputs at the same points."""
        u = self.normalizer.masked_inputs(batch.u, batch.x_mask, batch.params)
        constants = self.normalizer.params(batch.params)[:, None].expand(-1, u.shape[1], -1)
        z = self.lift(torch.cat([u, constants], dim=-1)) + self.position(
            self.normalizer.points(batch.x)
        )
        for block in self.blocks:
            z = block(z, batch.x_mask)
        return self.head(z)


class SliceBlock(nn.Module):
    """z ← z + SliceAttention(norm z),   z ← z + MLP(norm z); see `Transolver`.

    Args:
        width: number of channels per point.
        heads: number of attention heads.
        slices: number of slices per head.

    Shape: z (b n h), mask (#b n) -> (b n h)

    Example:
        >>> SliceBlock(8, 2, 4)(torch.rand(1, 5, 8), torch.ones(1, 5) > 0).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, width: int, heads: int, slices: int) -> None:
        super().__init__()
        each = width // heads
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.share = nn.Linear(width, heads * slices)
        self.log_temperature = nn.Parameter(torch.full((heads, 1, 1), 0.5).log())
        self.query_key_value = nn.Linear(each, 3 * each, bias=False)
        self.mlp = MLP(width)

    def forward(
        self, z: Float[Tensor, "b n h"], mask: Bool[Tensor, "#b n"]
    ) -> Float[Tensor, "b n h"]:
        """Features after the block; masked points do not count in any slice."""
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
