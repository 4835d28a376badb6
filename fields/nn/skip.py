"""Moments of the input function around each query: the skip path from input to output."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.component import Component
from fields.nn.attention.weights import Softmax
from fields.nn.geometry import grid_axes, periodic_coordinates


class SkipMoments(Component):
    r"""Gaussian means and first moments of the input around each query, at learned lengths ℓ.

        M₀(y) = Σⱼ αⱼ uⱼ,   M_a(y) = Σⱼ αⱼ (xⱼ − y)_a/ℓ · uⱼ,    α = softmaxⱼ( −‖y − xⱼ‖²/(2ℓ²) )

    They give the decoder what a compressed latent code cannot carry: the value and slope of the
    input at the query. On periodic axes a difference δ becomes sin(2πδ)/2π, which is continuous
    half a period away.

    Args:
        axes: number of coordinates d.
        lengths: ℓ at initialization, in unit coordinates.

    Example:
        >>> x, y = torch.rand(1, 16, 1) - 0.5, torch.rand(1, 5, 1) - 0.5
        >>> mask = torch.ones(1, 16, dtype=torch.bool)
        >>> skip = SkipMoments(1, lengths=(0.1, 0.3))
        >>> skip(x, torch.ones(2, 16, 3), mask, y, torch.tensor([True])).shape
        torch.Size([2, 5, 12])
    """

    def __init__(self, axes: int, *, lengths: tuple[float, ...]):
        super().__init__()
        self.log_length = nn.Parameter(torch.tensor([math.log(length) for length in lengths]))
        self.features = len(lengths) * (1 + axes)
        # α itself is needed: samples on shared points share it, and it is multiplied with offsets
        self.softmax = Softmax()

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        y: Float[Tensor, "#b m d"],
        periodic: Bool[Tensor, "d"],
    ) -> Float[Tensor, "b m c"]:
        """Input values u at points x to c·features values per query y.

        Raises:
            ValueError: a value is NaN, which means that it is not given at its point.
        """
        if not torch.compiler.is_compiling() and bool(u.isnan().any()):
            raise ValueError(
                "The skip path needs every input at every point, got NaN where one is not given. "
                "Set `skip: null` and the decoder's `skip_features: 0`, as "
                "configs/encoder/multi_input.yaml does."
            )
        grid = None
        if not torch.compiler.is_compiling() and len(x) == len(y) == 1:
            grid = grid_axes(x)
        if grid is None:
            moments = self._scattered(x, u, x_mask, y, periodic)
        elif bool(x_mask.all()):
            moments = self._by_axes(*grid, u, y[0], periodic)
        else:
            # Both sums run over the points that have a value.
            real = x_mask[..., None].expand(len(u), -1, 1)
            values = torch.cat([torch.where(real, u, 0.0), real.to(u.dtype)], dim=-1)
            sums = self._by_axes(*grid, values, y[0], periodic)
            present = sums[:, :, :, :1, -1:].clamp_min(torch.finfo(u.dtype).tiny)
            moments = sums[..., :-1] / present
        return rearrange(moments, "b l m f c -> b m (l f c)")

    def _scattered(
        self, x: Tensor, u: Tensor, x_mask: Tensor, y: Float[Tensor, "#b m d"], periodic: Tensor
    ) -> Float[Tensor, "b l m f c"]:
        """Moments for any points, with one weight per query and point."""
        places = periodic_coordinates(x, periodic)
        precision = self._precision()
        distance = torch.cdist(periodic_coordinates(y, periodic), places).square()
        weight = rearrange(
            self.softmax(-0.5 * precision * distance[:, None], x_mask[:, None, None]),
            "b l m n -> b (l m) n",
        )
        # α (x − y) = αx − αy, and likewise for sines: α is multiplied with few numbers per point
        # instead of one offset per pair
        of_x = torch.cat([u[:, :, None], places[..., None] * u[:, :, None]], dim=2)
        of_x = rearrange(of_x, "b n f c -> b n (f c)")
        if len(weight) == 1:  # shared points: one product for the whole batch
            sums = torch.matmul(weight[0], rearrange(of_x, "b n f -> n (b f)"))
            sums = rearrange(sums, "m (b f) -> b m f", f=of_x.shape[-1])
        else:
            sums = torch.matmul(weight, of_x)
        sums = rearrange(sums, "b (l m) (f c) -> b l m f c", m=y.shape[1], c=u.shape[-1])
        first = _shifted(sums, y, periodic) * precision.sqrt()[..., None]
        return torch.cat([sums[:, :, :, :1], first], dim=3)

    def _by_axes(
        self,
        axes: list[Tensor],
        order: list[int],
        u: Tensor,
        y: Float[Tensor, "m d"],
        periodic: Tensor,
    ) -> Float[Tensor, "b l m f c"]:
        """Moments on a grid, where α is a product of one softmax per axis, summed axis by axis."""
        root = self._precision().sqrt()
        left = rearrange(u, "b n c -> n (b c)")
        # moments, lengths, queries, points, values
        sums = left.expand(1, len(self.log_length), 1, *left.shape)
        for a in order:
            offset = axes[a] - y[:, a, None]
            turn = math.pi * offset
            straight = not bool(periodic[a])
            alpha = self.softmax(
                -0.5 * (root * (offset if straight else turn.sin() / math.pi)).square()[None]
            )[0]
            first = alpha * root * (offset if straight else (2 * turn).sin() / (2 * math.pi))
            sums = rearrange(sums, "f l m (n r) v -> f l m n (r v)", n=len(axes[a]))
            sums = torch.cat([_sum_over_axis(alpha, sums), _sum_over_axis(first, sums[:1])])
            sums = rearrange(sums, "f l m (r v) -> f l m r v", v=left.shape[-1])
        sums = sums[[0, *(1 + order.index(a) for a in range(len(order)))]]
        return rearrange(sums, "f l m 1 (b c) -> b l m f c", c=u.shape[-1])

    def _precision(self) -> Float[Tensor, "l 1 1"]:
        return torch.exp(-2 * self.log_length)[:, None, None]


def _sum_over_axis(
    weight: Float[Tensor, "l m n"], values: Float[Tensor, "f l #m n v"]
) -> Float[Tensor, "f l m v"]:
    """Σₙ weight · values; values have one entry for all queries before the first axis is summed."""
    if values.shape[2] == 1:
        return weight @ values[:, :, 0]
    return (weight[:, :, None] @ values)[..., 0, :]


def _shifted(
    sums: Float[Tensor, "b l m f c"], y: Float[Tensor, "#b m d"], periodic: Bool[Tensor, "d"]
) -> Float[Tensor, "b l m d c"]:
    """Σ α (x − y) u, or Σ α sin(2π(x − y)) u / 2π, from Σ α u and Σ α e(x) u.

    e(x) is `periodic_coordinates`.
    """
    d = y.shape[-1]
    mean = sums[:, :, :, :1]
    first = sums[:, :, :, 1 : 1 + d]
    second = sums[:, :, :, 1 + d :]
    y = rearrange(y, "b m d -> b 1 m d 1")
    turn = 2 * math.pi * y
    return torch.where(
        rearrange(periodic, "d -> d 1"), turn.cos() * first - turn.sin() * second, first - y * mean
    )
