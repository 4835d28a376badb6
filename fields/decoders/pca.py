"""A combination of the principal components of the training fields."""

from __future__ import annotations

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fields.core.sample import Latent, Schema
from fields.decoders.base import FittedDecoder, skip_projection
from fields.nn.attention.pool import AttentionPooling
from fields.nn.blocks import MLP
from fields.nn.interpolation.multilinear import multilinear
from fields.nn.interpolation.pod import PODBasis


class PCA(FittedDecoder):
    r"""Coefficients from the code, basis functions from the training data, at any point.

        f(y) = v̄(y) + Σ_r c_r(z) s_r φ_r(y),    c = MLP(LN z)

    φ_r are the principal components of the training outputs at the nodes of the training grid, s_r
    the standard deviations of their coefficients, v̄ the mean field. They are computed before the
    training and stay fixed; between the nodes they are interpolated linearly, axis by axis, so that
    finer queries show no detail beyond the training grid. The field is linear in c, and all outputs
    share the coefficients.

    Reference: Bhattacharya, Hosseini, Kovachki & Stuart, SMAI J. Comput. Math. 7 (2021), section 3.

    Args:
        dim: token width h.
        schema: names and geometry of the problem; its grid holds the nodes.
        skip_features: features of the skip path per input channel, 0 without one; they are added
            linearly.
        components: basis functions; fewer are used if there are fewer training samples.
        seeds: of the pooling, see :class:`~fields.nn.attention.pool.AttentionPooling`.

    Raises:
        ValueError: the training points are not a regular grid.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),), grid=(8,))
        >>> decoder, y = PCA(16, schema), torch.linspace(-0.5, 0.5, 8).reshape(1, 8, 1)
        >>> decoder.fit(y, torch.randn(20, 8, 1))
        >>> latent = Latent(torch.randn(3, 8, 16), y, torch.tensor([False]))
        >>> decoder(latent, torch.zeros(1, 5, 1)).shape
        torch.Size([3, 5, 1])
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
                "`PCA` stores its basis at the nodes of a regular training grid, and the points of "
                "this problem are scattered. Use `BranchTrunk`, whose basis is learned at any "
                "point."
            )
        self.outputs = schema.out_channels
        self.periodic = schema.periodic
        self.pool = AttentionPooling(dim, schema, seeds=seeds)
        self.to_coefficients = nn.Sequential(nn.LayerNorm(dim), MLP(dim, out=components))
        self.basis = PODBasis(math.prod(schema.grid) * self.outputs, components)
        for axis, count in enumerate(schema.grid):
            self.register_buffer(f"axis_{axis}", (torch.arange(count) + 0.5) / count - 0.5)
        self.skip_features = skip_projection(skip_features, schema, self.outputs)

    @property
    def axes(self) -> list[Tensor]:
        """Coordinates of the nodes along each axis, ascending, in unit coordinates."""
        return [getattr(self, f"axis_{axis}") for axis in range(len(self.periodic))]

    def fit(self, y: Float[Tensor, "#b n d"], v: Float[Tensor, "b n o"]) -> None:
        """Computes the basis (see `FittedDecoder`); all samples share the nodes of the grid."""
        lines = [torch.unique(y[0, :, axis]) for axis in range(y.shape[-1])]
        if len(y) != 1 or [len(line) for line in lines] != [len(axis) for axis in self.axes]:
            counts = " x ".join(str(len(axis)) for axis in self.axes)
            raise ValueError(
                f"`PCA` is fitted on one grid of {counts} nodes that all samples share, got "
                f"{len(y)} set(s) of {y.shape[1]} points. Use `BranchTrunk`, whose basis is "
                "learned at any point."
            )
        for axis, line in zip(self.axes, lines, strict=True):
            axis.copy_(line)
        places = [
            torch.searchsorted(line, y[0, :, axis].contiguous()) for axis, line in enumerate(lines)
        ]
        # Rows of the basis have the last axis fastest, whatever the order in the file.
        nodes = torch.zeros_like(places[0])
        for place, line in zip(places, lines, strict=True):
            nodes = nodes * len(line) + place
        self.basis.fit(v[:, nodes.argsort()].flatten(1))

    def coefficients(
        self, latent: Latent, cond: Float[Tensor, "b h"] | None = None
    ) -> Float[Tensor, "b r"]:
        """Coefficients c of the basis functions."""
        return self.to_coefficients(self.pool(latent, cond))

    def functions(self, y: Float[Tensor, "b m d"]) -> Float[Tensor, "b m o r"]:
        """The scaled basis functions s_r φ_r and, last, the mean field at points y."""
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
        """The field at points y (see `Decoder`)."""
        c = self.coefficients(latent, cond)
        c = torch.cat([c, torch.ones_like(c[:, :1])], dim=-1)
        functions = self.functions(y).to(c.dtype).expand(len(c), -1, -1, -1)
        v = einsum(c, functions, "b r, b m o r -> b m o")
        return v if self.skip_features is None else v + self.skip_features(skip_features)
