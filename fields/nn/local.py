"""The input function as a query sees it around itself."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.nn.geometry import embed
from fields.nn.weights import Softmax
from fields.part import Part


class LocalMoments(Part):
    r"""Gaussian means and first moments of the input around each query, at several learned lengths ℓ.

        M₀(y) = Σⱼ αⱼ uⱼ,   M_a(y) = Σⱼ αⱼ (xⱼ − y)_a/ℓ · uⱼ,    α = softmaxⱼ( −‖y − xⱼ‖²/(2ℓ²) )

    The skip path from input to output: what a compressed latent code cannot carry, the value and slope of the input at the
    query. On periodic axes differences δ become sin(2πδ)/2π, which has no jump half a period away.

    Args:
        axes: number of coordinates d.
        lengths: ℓ at start-up, in unit coordinates.
    """

    def __init__(self, axes: int, *, lengths: tuple[float, ...]):
        super().__init__()
        self.log_length = nn.Parameter(torch.tensor([math.log(length) for length in lengths]))
        self.features = len(lengths) * (1 + axes)
        self.softmax = Softmax()  # α itself: it is shared by all samples on shared points, and multiplied with offsets

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        y: Float[Tensor, "#b m d"],
        periodic: Bool[Tensor, "d"],
    ) -> Float[Tensor, "b m c"]:
        """Input values u at x -> c·features values per query y.

        Raises:
            ValueError: a value is NaN, not given at its point.
        """
        if not torch.compiler.is_compiling() and bool(u.isnan().any()):
            raise ValueError(
                "The local path needs every input at every point, got NaN where one is not given. "
                "Set `local: null` and the decoder's `near: 0`, as configs/encoder/multi_input.yaml does."
            )
        distance = torch.cdist(embed(y, periodic), embed(x, periodic)).square()
        precision = torch.exp(-2 * self.log_length)[:, None, None]
        weight = self.softmax(-0.5 * precision * distance[:, None], x_mask[:, None, None])
        offset = x[:, None] - y[:, :, None]
        offset = torch.where(periodic, torch.sin(2 * math.pi * offset) / (2 * math.pi), offset)
        first = weight[:, :, None] * rearrange(offset, "b m n d -> b 1 d m n") * precision.sqrt()[:, None]
        weights = torch.cat([weight[:, :, None], first], dim=2)
        weights = rearrange(weights, "b l f m n -> b (m l f) n")
        if len(weights) == 1:  # shared points: one product for the whole batch
            moments = torch.matmul(weights[0], rearrange(u, "b n c -> n (b c)"))
            return rearrange(moments, "(m f) (b c) -> b m (f c)", m=y.shape[1], c=u.shape[-1])
        return rearrange(torch.matmul(weights, u), "b (m f) c -> b m (f c)", m=y.shape[1])
