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
        places = embed(x, periodic)
        distance = torch.cdist(embed(y, periodic), places).square()
        precision = torch.exp(-2 * self.log_length)[:, None, None]
        weight = rearrange(self.softmax(-0.5 * precision * distance[:, None], x_mask[:, None, None]), "b l m n -> b (l m) n")
        # α (x − y) = αx − αy, and sines alike: α is multiplied with few numbers per point, never with an offset per pair
        of_x = torch.cat([u[:, :, None], places[..., None] * u[:, :, None]], dim=2)
        of_x = rearrange(of_x, "b n f c -> b n (f c)")
        if len(weight) == 1:  # shared points: one product for the whole batch
            sums = torch.matmul(weight[0], rearrange(of_x, "b n f -> n (b f)"))
            sums = rearrange(sums, "m (b f) -> b m f", b=len(u))
        else:
            sums = torch.matmul(weight, of_x)
        sums = rearrange(sums, "b (l m) (f c) -> b m l f c", m=y.shape[1], c=u.shape[-1])
        first = _shifted(sums, y, periodic) * precision.sqrt()
        return rearrange(torch.cat([sums[:, :, :, :1], first], dim=3), "b m l f c -> b m (l f c)")


def _shifted(
    sums: Float[Tensor, "b m l f c"], y: Float[Tensor, "#b m d"], periodic: Bool[Tensor, "d"]
) -> Float[Tensor, "b m l d c"]:
    """Σ α (x − y) u, or Σ α sin(2π(x − y)) u / 2π, from Σ α u and Σ α e(x) u, e as in `embed`."""
    d = y.shape[-1]
    mean, first, second = sums[:, :, :, :1], sums[:, :, :, 1 : 1 + d], sums[:, :, :, 1 + d :]
    y = rearrange(y, "b m d -> b m 1 d 1")
    turn = 2 * math.pi * y
    return torch.where(rearrange(periodic, "d -> d 1"), turn.cos() * first - turn.sin() * second, first - y * mean)
