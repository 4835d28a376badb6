"""A model as a self-contained program: ``torch.export`` for one set of input points."""

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

from fields.core.protocols import Traceable
from fields.core.sample import Sample
from fields.data.schema import points_of, require
from fields.io.base import DataError

if TYPE_CHECKING:
    import xarray as xr


class FixedPointsModel(nn.Module):
    """(u, y, params) ↦ v̂ at fixed input points and times, with tensors as its only arguments.

    Args:
        model: the model, already restricted to these points (`Operator.fix_points`).
        x: points (n d) where the input function is given, in physical units.
        times: the s times of an evolution problem, from the last given frame; empty otherwise.

    Shape: u (b n c), y (m d), params (b p) -> v̂ (b s m o), all in physical units.

    Example:
        >>> import fields
        >>> x = torch.arange(64)[:, None] / 64
        >>> program = FixedPointsModel(fields.load("burgers"), x, [])
        >>> program(torch.randn(2, 64, 1), torch.rand(30, 1), torch.zeros(2, 0)).shape
        torch.Size([2, 1, 30, 1])
    """

    x: Tensor
    t: Tensor

    def __init__(self, model: Traceable, x: Float[Tensor, "n d"], times: Sequence[float]):
        super().__init__()
        self.model = model
        self.times = list(times)
        self.register_buffer("x", x[None])
        self.register_buffer("t", torch.tensor(self.times or [0.0])[None])

    def forward(
        self, u: Float[Tensor, "b n c"], y: Float[Tensor, "m d"], params: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b s m o"]:
        """Predict the field at query points y, for an input function u and constants of the PDE."""
        y = y[None]
        x_mask = torch.ones_like(self.x[..., 0], dtype=torch.bool)
        y_mask = torch.ones_like(y[..., 0], dtype=torch.bool)
        v = u.new_zeros(u.shape[0], 1, y.shape[1], self.model.schema.out_channels)
        batch = Sample(self.x, u, x_mask, y, v, y_mask, self.t, params)
        return self.model.forward_at(batch, self.times)


def export(
    model: Traceable,
    path: str | Path,
    ds: xr.Dataset,
    *,
    times: Sequence[float] | None = None,
    queries: int = 400,
) -> ExportedProgram:
    """Write a ``.pt2`` file that PyTorch runs without this library: (u, y, params) ↦ v̂.

    The program accepts any batch size and any query points; the input points are fixed.

    Args:
        model: the model, on the device where it is to run.
        path: the file.
        ds: a dataset whose coordinates are the input points; they are stored in the program.
        times: of evolution problems, in physical units from the last given frame; one frame later
            by default.
        queries: typical number of query points, used for tracing; the program accepts any number
            from 26.

    Returns:
        The exported program, as ``torch.export.load(path)`` reads it.

    Raises:
        DataError: coordinates are missing, or every sample has points of its own.
    """
    schema = model.schema
    if "point" in ds.dims and "sample" in ds[schema.coords[0]].dims:
        raise DataError(
            "Every sample of the data has points of its own, but a program has one fixed set of "
            "input points. Export with the points of one sample."
        )
    require(ds, replace(schema, inputs=(), outputs=(), params=(), weight=None))
    x = points_of(ds, schema)
    device = next(model.parameters()).device
    model = deepcopy(model).eval().requires_grad_(False)
    model.fix_points(x[None].to(device))
    requested = () if schema.dt is None else times or (schema.dt,)
    fixed = FixedPointsModel(model, x, requested).to(device)
    u = torch.randn(2, len(x), schema.in_channels, device=device)
    y = x[torch.arange(queries) % len(x)].to(device)
    params = torch.ones(2, len(schema.params), device=device)
    batch = Dim("batch", min=1)
    points = Dim("points", min=26)  # up to 25 points take another path through `torch.cdist`
    with torch.no_grad():
        program = torch.export.export(
            fixed, (u, y, params), dynamic_shapes=({0: batch}, {0: points}, {0: batch})
        )
    torch.export.save(program, path)
    return program
