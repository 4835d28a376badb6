"""A model as a program of its own: ``torch.export`` for one schema and one set of input points."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fields.core.sample import Sample
from fields.data.schema import points_of, require
from fields.io.base import DataError
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.static import LatentOperator

if TYPE_CHECKING:
    import xarray as xr


class Fixed(nn.Module):
    """(u, y, params) ↦ v at fixed input points and times, in physical units; nothing but tensors goes in and out.

    Args:
        model: the model.
        x: (n d) where the input function is given.
        times: (s) of evolution problems, from the last given frame.
    """

    x: Tensor
    t: Tensor

    def __init__(self, model: Operator, x: Float[Tensor, "n d"], times: Sequence[float]):
        super().__init__()
        self.model, self.times = model, list(times)
        self.register_buffer("x", x[None])
        self.register_buffer("t", torch.tensor(self.times or [0.0])[None])

    def forward(
        self, u: Float[Tensor, "b n c"], y: Float[Tensor, "m d"], params: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b s m o"]:
        """Values of the input function, query points and constants of the PDE -> the field there."""
        y, mask = y[None], torch.ones_like(self.x[..., 0], dtype=torch.bool)
        if isinstance(self.model, EvolutionOperator):
            latent, cond = self.model.tokens(self.x, u, mask, params)
            codes = list(
                self.model.propagator.at(latent, cond, [t / self.model.dt for t in self.times])
            )
            return self.model.decode(codes, y, params)
        v = u.new_zeros(u.shape[0], 1, y.shape[1], self.model.schema.out_channels)
        return self.model(
            Sample(
                self.x, u, mask, y, v, torch.ones_like(y[..., 0], dtype=torch.bool), self.t, params
            )
        )


def export(
    model: Operator,
    path: str | Path,
    ds: xr.Dataset,
    *,
    times: Sequence[float] | None = None,
    queries: int = 400,
) -> ExportedProgram:
    """Writes a ``.pt2`` file that PyTorch runs without this library: (u, y, params) ↦ v for any batch and any queries.

    Args:
        model: the model, on the device where it is to run.
        path: the file.
        ds: where the input function will be given; its coordinates are kept in the program.
        times: of evolution problems, in physical units from the last given frame; one frame later
            by default.
        queries: how many there will be, about; they may be any number from 26.

    Raises:
        DataError: coordinates are missing, or belong to each sample by itself.
    """
    schema = model.schema
    if "point" in ds.dims and "sample" in ds[schema.coords[0]].dims:
        raise DataError(
            "Every sample has points of its own, and a program has one set of them. Export with those of one sample."
        )
    require(ds, replace(schema, inputs=(), outputs=(), params=(), weight=None))
    x, device = points_of(ds, schema), next(model.parameters()).device
    model = deepcopy(model).eval().requires_grad_(False)
    if isinstance(model, LatentOperator):
        model.encoder.fix(model.normalizer.points(x[None].to(device)))
    asked = () if schema.dt is None else times or (schema.dt,)
    fixed = Fixed(model, x, asked).to(device)
    u = torch.randn(2, len(x), schema.in_channels, device=device)
    given = (
        u,
        x[torch.arange(queries) % len(x)].to(device),
        torch.ones(2, len(schema.params), device=device),
    )
    batch, points = (
        Dim("batch", min=1),
        Dim("points", min=26),
    )  # up to 25 points take another path through `torch.cdist`
    with torch.no_grad():
        program = torch.export.export(
            fixed, given, dynamic_shapes=({0: batch}, {0: points}, {0: batch})
        )
    torch.export.save(program, path)
    return program
