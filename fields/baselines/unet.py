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
    r"""h_{l+1} = C_{l+1}(pool h_l) on coarser grids, then h_l ← C'_l[h_l, upsample h_{l+1}].

    C are two convolutions each, and h_0 = C_0(u).

    Periodic axes are padded periodically, others with zeros; on axes that are not homogeneous the
    coordinate is an input. The grid may have any size of at least 2^levels points per axis. The
    stencils have a fixed number of points: on a finer grid the same weights cover a smaller part
    of the domain.

    Reference: Ronneberger, Fischer & Brox, MICCAI 2015.

    Args:
        schema, normalizer: the problem.
        width: number of channels on the finest grid, doubled on every coarser one.
        levels: number of coarser grids, each with half as many points per axis.

    Example:
        >>> from fields import Sample, Schema
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(16,))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = UNet(schema=schema, normalizer=normalizer, width=4)
        >>> x, mask = torch.linspace(0, 1, 16)[None, :, None], torch.ones(1, 16) > 0
        >>> batch = Sample(x, torch.rand(2, 16, 1), mask, x, torch.zeros(2, 1, 16, 1), mask,
        ...                torch.zeros(2, 1), torch.zeros(2, 0))
        >>> model(batch).shape
        torch.Size([2, 1, 16, 1])
    """

    def __init__(
        self, *, schema: Schema, normalizer: Normalizer, width: int = 32, levels: int = 3
    ) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.levels = levels
        self.axes = [a for a, same in enumerate(schema.homogeneous) if not same]
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
        """Halve the grid ``levels`` times, and double it again with skip connections."""
        if min(u.shape[2:]) < 2**self.levels:
            raise ValueError(
                f"UNet halves the grid {self.levels} times and needs at least {2**self.levels} "
                f"points per axis, got {tuple(u.shape[2:])}. Use fewer `levels` or a finer grid."
            )
        h = torch.cat([u, coordinate_channels(axes, len(u))[:, self.axes]], dim=1)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            h = block(POOL[len(axes)](h, 2) if level else h)
            skips.append(h)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:])
            h = block(torch.cat([skip, h], dim=1))
        return self.head(h)


class DoubleConvolution(nn.Module):
    """h ← GELU(norm(conv h)), twice: 3 points per axis, group norm with one group.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        periodic: which axes are padded periodically.

    Example:
        >>> DoubleConvolution(2, 5, (True, False))(torch.zeros(1, 2, 8, 8)).shape
        torch.Size([1, 5, 8, 8])
    """

    def __init__(self, inputs: int, outputs: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.periodic = periodic
        self.convolutions = nn.ModuleList(
            CONVOLUTION[len(periodic)](c, outputs, 3) for c in (inputs, outputs)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, outputs) for _ in range(2))

    def forward(self, h: Float[Tensor, "b c *sizes"]) -> Float[Tensor, "b o *sizes"]:
        """Features on the same grid."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.gelu(norm(convolution(self._pad(h))))
        return h

    def _pad(self, h: Tensor) -> Tensor:
        around = [int(p) for p in reversed(self.periodic) for _ in range(2)]
        return F.pad(F.pad(h, around, mode="circular"), [1 - p for p in around])
