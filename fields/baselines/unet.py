"""A U-Net in one, two or three dimensions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.baselines.grid import GridOperator, coordinate_channels
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class UNet(GridOperator):
    r"""Convolutions on ever coarser grids and back, with skips between grids of equal size.

    Axes that are periodic are padded with their other end, others with zeros; on axes that are not
    homogeneous the coordinate is an input. Grids of any size of at least 2^levels points per axis;
    the stencils are measured in points, so on a finer grid the same weights see a smaller part of
    the domain.

    Reference: Ronneberger, Fischer & Brox, MICCAI 2015.

    Args:
        schema, normalizer: the problem.
        width: channels on the finest grid, doubled on every coarser one.
        levels: how often the grid is halved.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, width: int = 32, levels: int = 3):
        super().__init__(schema=schema, normalizer=normalizer)
        self.levels, self.axes = (
            levels,
            [a for a, same in enumerate(schema.homogeneous) if not same],
        )
        widths = [width * 2**level for level in range(levels + 1)]
        starts = [self.channels + len(self.axes), *widths[:-1]]
        self.down = nn.ModuleList(
            DoubleConvolution(a, b, schema.periodic) for a, b in zip(starts, widths, strict=True)
        )
        self.up = nn.ModuleList(
            DoubleConvolution(widths[i] + widths[i + 1], widths[i], schema.periodic)
            for i in range(levels)
        )
        self.head = CONVOLUTION[schema.dim](width, schema.out_channels, 1)

    def forward_on_grid(
        self, u: Float[Tensor, "b c *sizes"], axes: list[Tensor]
    ) -> Float[Tensor, "b o *sizes"]:
        """See `GridOperator`."""
        if min(u.shape[2:]) < 2**self.levels:
            raise ValueError(
                f"UNet halves the grid {self.levels} times and needs {2**self.levels} points per axis, got {tuple(u.shape[2:])}. "
                "Use fewer `levels` or a finer grid."
            )
        h, skips = torch.cat([u, coordinate_channels(axes, len(u))[:, self.axes]], dim=1), []
        for level, block in enumerate(self.down):
            h = block(POOL[len(axes)](h, 2) if level else h)
            skips.append(h)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:])
            h = block(torch.cat([skip, h], dim=1))
        return self.head(h)


class DoubleConvolution(nn.Module):
    """Twice: convolution over 3 points per axis, group norm, GELU."""

    def __init__(self, inner: int, outer: int, periodic: tuple[bool, ...]):
        super().__init__()
        self.periodic = periodic
        self.convolutions = nn.ModuleList(
            CONVOLUTION[len(periodic)](c, outer, 3) for c in (inner, outer)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, outer) for _ in range(2))

    def forward(self, h: Float[Tensor, "b c *sizes"]) -> Float[Tensor, "b o *sizes"]:
        """Keeps the grid."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.gelu(norm(convolution(self._pad(h))))
        return h

    def _pad(self, h: Tensor) -> Tensor:
        around = [int(p) for p in reversed(self.periodic) for _ in range(2)]
        return F.pad(F.pad(h, around, mode="circular"), [1 - p for p in around])
