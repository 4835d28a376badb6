"""The field is a combination of the training fields' principal components."""

from __future__ import annotations

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import FittedDecoder
from fields.nn.attention.pool import Pool
from fields.nn.blocks import MLP
from fields.nn.interpolation.multilinear import multilinear
from fields.nn.interpolation.pod import PODBasis


class PCA(FittedDecoder):
    r"""Coefficients from the code, basis functions from the data: the end of a PCA-Net, asked anywhere.

        f(y) = v̄(y) + Σ_r c_r(z) s_r φ_r(y),    c = MLP(LN z)

    φ_r are the principal components of the training outputs on the nodes of the training grid, s_r
    their spread, v̄ the mean field. They are taken from the data before the training and stay;
    between the nodes they are interpolated linearly, axis by axis. Finer queries therefore see
    nothing that the training grid did not hold. The field is linear in c, and all outputs share the
    coefficients.

    Reference: Bhattacharya, Hosseini, Kovachki & Stuart, SMAI J. Comput. Math. 7, 2021.

    Args:
        dim: token width h.
        schema: names and geometry of the problem; its grid holds the nodes.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.
        components: basis functions; fewer if there are fewer training samples.
        seeds: see `Pool`.

    Raises:
        ValueError: the training points are no regular grid.
    """

    def __init__(
        self,
        dim: int,
        schema: Schema,
        *,
        skip_features: int = 0,
        components: int = 64,
        seeds: int = 4,
    ):
        super().__init__()
        if schema.grid is None:
            raise ValueError(
                "`PCA` keeps its basis on the nodes of a regular training grid, and the points of this problem are scattered. "
                "Use `DeepONet`, whose basis is learned at any point."
            )
        self.outputs, self.periodic = schema.out_channels, schema.periodic
        self.pool = Pool(dim, schema, seeds=seeds)
        self.to_coefficients = nn.Sequential(nn.LayerNorm(dim), MLP(dim, out=components))
        self.basis = PODBasis(math.prod(schema.grid) * self.outputs, components)
        for axis, count in enumerate(schema.grid):
            self.register_buffer(f"axis_{axis}", (torch.arange(count) + 0.5) / count - 0.5)
        self.skip_features = (
            nn.Linear(skip_features * schema.in_channels, self.outputs, bias=False)
            if skip_features
            else None
        )

    @property
    def axes(self) -> list[Tensor]:
        """The grid's lines along each axis, ascending, in unit coordinates."""
        return [getattr(self, f"axis_{axis}") for axis in range(len(self.periodic))]

    def fit(self, y: Float[Tensor, "#b n d"], v: Float[Tensor, "b n o"]) -> None:
        """See `FittedDecoder`."""
        lines = [torch.unique(y[0, :, axis]) for axis in range(y.shape[-1])]
        if len(y) != 1 or [len(line) for line in lines] != [len(axis) for axis in self.axes]:
            raise ValueError(
                f"`PCA` is fitted on one grid of {' x '.join(str(len(axis)) for axis in self.axes)} nodes that all samples share, "
                f"got {len(y)} set(s) of {y.shape[1]} points. Use `DeepONet`, whose basis is learned at any point."
            )
        for axis, line in zip(self.axes, lines, strict=True):
            axis.copy_(line)
        places = [
            torch.searchsorted(line, y[0, :, axis].contiguous()) for axis, line in enumerate(lines)
        ]
        nodes = torch.zeros_like(places[0])
        for place, line in zip(
            places, lines, strict=True
        ):  # rows have the last axis fastest, whatever the file has
            nodes = nodes * len(line) + place
        self.basis.fit(v[:, nodes.argsort()].flatten(1))

    def coefficients(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None
    ) -> Float[Tensor, "b r"]:
        """c."""
        return self.to_coefficients(self.pool(latent, cond))

    def functions(self, y: Float[Tensor, "b m d"]) -> Float[Tensor, "b m o r"]:
        """s_r φ_r and, last, the mean field at points y."""
        nodal = torch.cat(
            [self.basis.directions * self.basis.spread[:, None], self.basis.mean[None]]
        )
        nodal = rearrange(nodal.to(y.dtype), "r (n o) -> n (o r)", o=self.outputs)
        nodal = nodal.reshape(1, *(len(axis) for axis in self.axes), -1)
        at = [
            multilinear(nodal, [axis.to(y.dtype) for axis in self.axes], row, self.periodic)[0]
            for row in y
        ]
        return rearrange(torch.stack(at), "b m (o r) -> b m o r", o=self.outputs)

    def forward(
        self,
        latent: Latent,
        y: Float[Tensor, "#b m d"],
        cond: Float[Tensor, "b h"] | None = None,
        skip_features: Float[Tensor, "b m c"] | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Field at points y."""
        c = self.coefficients(latent, cond)
        c = torch.cat([c, torch.ones_like(c[:, :1])], dim=-1)
        v = einsum(
            c, self.functions(y).to(c.dtype).expand(len(c), -1, -1, -1), "b r, b m o r -> b m o"
        )
        return v if self.skip_features is None else v + self.skip_features(skip_features)
