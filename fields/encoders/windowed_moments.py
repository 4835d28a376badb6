"""Regular grids become tokens by local moments."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.nn.blocks import MLP
from fields.nn.geometry import grid_axes


class WindowedMoments(Anchored):
    r"""Overlapping windowed moments of the input, axis by axis, on regular grids of any size.

        M_p(a) = Σⱼ w(rⱼ) T_p(rⱼ) uⱼ / Σⱼ w(rⱼ),    rⱼ = (xⱼ − a)/Δ,    w(r) = cos²(πr/2) for |r| < 1,    T_p(r) = cos(p arccos r)

    Anchors a lie at spacing Δ and each window covers two cells, so the windows sum to one.
    Moments are means over the points in
    the window: the number of tokens and the meaning of each moment do not depend on the resolution,
    and no size has to divide any other. Nothing is padded: at the ends of an axis that is not
    periodic the window is cut off and renormalized.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
        moments: moments per axis; 2 n / tokens of them hold all that n training points say.
    """

    fixed: tuple[list[Tensor], list[int]] | None

    def __init__(
        self, dim: int, schema: Schema, *, tokens: tuple[int, ...] | None = None, moments: int = 4
    ):
        super().__init__(dim, schema, tokens=tokens)
        self.moments = moments
        self.wrap, self.fixed = schema.periodic, None
        features = schema.in_channels * moments**schema.dim
        self.lift = nn.Linear(features, dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), MLP(dim))

    def forward(
        self,
        x: Float[Tensor, "#b n d"],
        u: Float[Tensor, "b n c"],
        x_mask: Bool[Tensor, "#b n"],
        cond: Float[Tensor, "b h"] | None = None,
    ) -> Latent:
        """Values on a regular grid, flattened with the last axis fastest -> one token per anchor."""
        z = self._moments(x, u)
        z = self.lift(z) + self.position(self.anchors[None].to(x.dtype))
        z = z if cond is None else z + cond[:, None]
        return Latent(z + self.mlp(z), self.anchors[None].to(x.dtype), self.periodic)

    def fix(self, x: Float[Tensor, "#b n d"]) -> None:
        """See `Encoder`; the axes of the grid."""
        self.fixed = self._axes(x)

    def _axes(self, x: Float[Tensor, "#b n d"]) -> tuple[list[Tensor], list[int]]:
        if (found := grid_axes(x)) is None:
            raise ValueError(
                f"`WindowedMoments` needs one regular grid for all samples, got {x.shape[1]} points that are not the product of their "
                "axes. Use the `CrossAttentionEncoder` encoder for scattered points."
            )
        return found

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def _moments(
        self, x: Float[Tensor, "#b n d"], u: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b k f"]:
        axes, order = self._axes(x) if self.fixed is None else self.fixed
        z = u.to(x.dtype).reshape(u.shape[0], *(axes[a].shape[0] for a in order), u.shape[-1])
        for a in (
            order
        ):  # each product takes one axis from the front and leaves (tokens, moments) at the back
            z = torch.einsum(
                "bn...,kpn->b...kp", z, self._weights(axes[a], self.tokens[a], self.wrap[a])
            )
        place = [order.index(a) for a in range(len(axes))]
        z = z.permute(0, *(2 + 2 * i for i in place), 1, *(3 + 2 * i for i in place))
        return z.reshape(u.shape[0], math.prod(self.tokens), -1)

    def _weights(self, points: Tensor, count: int, wrap: bool) -> Float[Tensor, "k p n"]:
        """Window times Chebyshev polynomial at every point of one axis, divided by the sum of the window."""
        anchors = (
            torch.arange(count, device=points.device, dtype=points.dtype) + 0.5
        ) / count - 0.5
        offset = points - anchors[:, None]
        offset = offset - offset.round() if wrap else offset
        r = (offset * count).clamp(-1, 1)
        window = torch.cos(math.pi / 2 * r).square()
        order = torch.arange(self.moments, device=points.device, dtype=points.dtype)
        chebyshev = torch.cos(order[:, None] * torch.arccos(r)[:, None, :])
        return window[:, None] * chebyshev / window.sum(-1).clamp_min(1e-12)[:, None, None]
