"""Local moments of the input on regular grids."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.encoders.base import Anchored
from fields.nn.blocks import MLP
from fields.nn.geometry import grid_axes

# Steps of an even axis differ by less than this share of their mean: the rounding of coordinates.
UNEVEN = 0.05

# Widest gap between neighboring points, in distances of anchors (half windows).
LARGEST_GAP = 1.01

# ... or in steps of the training grid, of which every second point is known to be readable.
COARSER = 2.1

# A window whose points with a value have less than this share of its weight counts as empty.
EMPTY = 1e-6


class WindowedMoments(Anchored):
    r"""Overlapping windowed moments of the input, axis by axis, on regular grids of any size.

        M_p(a) = Σⱼ w(rⱼ) T_p(rⱼ) uⱼ / Σⱼ w(rⱼ),    rⱼ = (xⱼ − a)/Δ
        w(r) = cos²(πr/2) for |r| < 1,    T_p(r) = cos(p arccos r)

    Anchors a are Δ apart and each window covers two cells, so that the windows sum to one. Moments
    are means over the points in the window: the number of tokens and the meaning of each moment do
    not depend on the resolution, and no size has to divide another. There is no padding: at the
    ends of an axis that is not periodic the window is truncated and renormalized. Where values are
    missing, both sums run over the points that have one,

        M_p(a) = Σⱼ w(rⱼ) T_p(rⱼ) mⱼ uⱼ / Σⱼ w(rⱼ) mⱼ,    mⱼ = 1 or 0,

    and a window without any has moments 0.

    Args:
        dim: token width h.
        schema: names and geometry of the problem.
        tokens: anchors per axis; by default 32, 16² or 6³.
        moments: moments per axis; 2 n / tokens of them determine the values at all n training
            points.

    Raises:
        ValueError: in ``forward``, points that are not the product of their axes; in ``check``,
            axes that are not evenly spaced or too coarse.

    Example:
        >>> from fields.nn.embeddings import grid_points
        >>> bounds = ((0.0, 1.0), (0.0, 1.0))
        >>> schema = Schema(("x", "y"), inputs=("a",), outputs=("u",), bounds=bounds)
        >>> encoder = WindowedMoments(16, schema, tokens=(4, 4))
        >>> x, u = grid_points((9, 10))[None], torch.randn(3, 90, 1)
        >>> encoder(x, u, torch.ones(1, 90) > 0).z.shape
        torch.Size([3, 16, 16])
    """

    fixed: tuple[list[Tensor], list[int]] | None

    def __init__(
        self, dim: int, schema: Schema, *, tokens: tuple[int, ...] | None = None, moments: int = 4
    ):
        super().__init__(dim, schema, tokens=tokens)
        self.moments = moments
        self.wrap = schema.periodic
        self.grid = schema.grid
        self.fixed = None
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
        """Values on a regular grid to one token per anchor (see `Encoder`)."""
        z = self._moments(x, u, x_mask)
        z = self.lift(z) + self.position(self.anchors[None].to(x.dtype))
        z = z if cond is None else z + cond[:, None]
        return Latent(z + self.mlp(z), self.anchors[None].to(x.dtype), self.periodic)

    def check(self, x: Float[Tensor, "n d"]) -> None:
        """Refuse points that are not a regular grid, or that leave windows without a point.

        Moments are plain means over the points of a window, which is the mean of the function only
        if the points are evenly spaced.
        """
        axes, _ = self._axes(x[None])
        for a, points in enumerate(axes):
            ordered = points.sort().values
            steps = ordered.diff()
            if len(steps) > 1 and float(steps.max() - steps.min()) > UNEVEN * float(steps.mean()):
                raise ValueError(
                    f"The points along axis {a} are not evenly spaced (steps from "
                    f"{float(steps.min()):.3g} to {float(steps.max()):.3g} of the domain), but "
                    "`WindowedMoments` needs a regular grid. Interpolate the input to one, or "
                    "train with `CrossAttentionEncoder`."
                )
            ends = torch.stack([ordered[0] + 0.5, 0.5 - ordered[-1]])
            outside = ends.sum() if self.wrap[a] else ends.max()
            gap = float(torch.cat([steps, outside[None]]).max())
            # A window without a point is only known to the model if its own grid leaves it so.
            trained = 0.0 if self.grid is None else COARSER / self.grid[a]
            if gap > max(LARGEST_GAP / self.tokens[a], trained):
                raise ValueError(
                    f"The points along axis {a} ({len(points)}) leave a gap of {gap:.3g} of the "
                    f"domain, which is too wide for the {self.tokens[a]} windows of "
                    "`WindowedMoments`. Give the input on a finer grid over the whole domain."
                )

    def fix(self, x: Float[Tensor, "#b n d"]) -> None:
        """Stores the axes of the grid (see `Encoder`)."""
        self.fixed = self._axes(x)

    def _axes(self, x: Float[Tensor, "#b n d"]) -> tuple[list[Tensor], list[int]]:
        """Coordinates along each axis, and the axes from the slowest to the fastest."""
        if (found := grid_axes(x)) is None:
            raise ValueError(
                "`WindowedMoments` needs one regular grid for all samples, got "
                f"{x.shape[1]} points that are not the product of their axes. Use "
                "`CrossAttentionEncoder` for scattered points."
            )
        return found

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def _moments(
        self, x: Float[Tensor, "#b n d"], u: Float[Tensor, "b n c"], x_mask: Bool[Tensor, "#b n"]
    ) -> Float[Tensor, "b k f"]:
        """All moments M_p of all variables at every anchor."""
        axes, order = self._axes(x) if self.fixed is None else self.fixed
        if self.fixed is not None or bool(x_mask.all()):
            return self._sums(axes, order, u.to(x.dtype), self.moments)
        real = x_mask[..., None]
        present = self._sums(axes, order, real.to(x.dtype), 1)
        sums = self._sums(axes, order, torch.where(real, u, 0.0).to(x.dtype), self.moments)
        return torch.where(present > EMPTY, sums / present.clamp_min(EMPTY), 0.0)

    def _sums(
        self, axes: list[Tensor], order: list[int], values: Float[Tensor, "b n c"], moments: int
    ) -> Float[Tensor, "b k f"]:
        """Σⱼ w(rⱼ) T_p(rⱼ) uⱼ / Σⱼ w(rⱼ) over all points of the grid, for p < moments."""
        z = values.reshape(len(values), *(axes[a].shape[0] for a in order), values.shape[-1])
        for a in order:
            # Each product takes one axis from the front and puts (tokens, moments) at the back.
            weights = self._weights(axes[a], self.tokens[a], self.wrap[a])[:, :moments]
            z = torch.einsum("bn...,kpn->b...kp", z, weights)
        place = [order.index(a) for a in range(len(axes))]
        z = z.permute(0, *(2 + 2 * i for i in place), 1, *(3 + 2 * i for i in place))
        return z.reshape(len(values), math.prod(self.tokens), -1)

    def _weights(self, points: Tensor, count: int, wrap: bool) -> Float[Tensor, "k p n"]:
        """w(r) T_p(r) / Σ w(r) at every point of one axis."""
        centers = torch.arange(count, device=points.device, dtype=points.dtype) + 0.5
        offset = points - (centers / count - 0.5)[:, None]
        offset = offset - offset.round() if wrap else offset
        r = (offset * count).clamp(-1, 1)
        window = torch.cos(math.pi / 2 * r).square()
        order = torch.arange(self.moments, device=points.device, dtype=points.dtype)
        chebyshev = torch.cos(order[:, None] * torch.arccos(r)[:, None, :])
        return window[:, None] * chebyshev / window.sum(-1).clamp_min(1e-12)[:, None, None]
