"""The Fourier neural operator of the neuraloperator library, behind our interface."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.encoders.patches import grid_axes
from fields.normalizer import Normalizer
from fields.operator import Operator
from fields.sample import Sample, Schema


class FNO(Operator):
    r"""v = Q( (σ(W + K))^L ( P(u, x) ) ),   K a convolution with learned Fourier coefficients of the lowest modes.

    On homogeneous axes the grid is not given as an input, so that the model commutes with translations as the problem does.
    It answers on the input's own grid; queries elsewhere are refused.

    Reference: Li et al., ICLR 2021; implementation: neuraloperator 2.0.

    Args:
        schema, normalizer: the problem.
        modes: Fourier modes kept per axis.
        width: channels.
        layers: Fourier layers L.

    Raises:
        ValueError: the points are no regular grid; queries differ from the input's points; or a grid has an odd size on an axis
            but the last, on which the spectral convolution of neuraloperator 2.0.0 is wrong (identity off by over 100 %).
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer, modes: int = 16, width: int = 64, layers: int = 4):
        super().__init__(schema=schema, normalizer=normalizer)
        from neuralop.models import FNO as NeuralopFNO  # noqa: N811  imports wandb and takes seconds

        everywhere = all(schema.homogeneous)
        self.net = NeuralopFNO(
            n_modes=(modes,) * schema.dim,
            hidden_channels=width,
            n_layers=layers,
            in_channels=schema.in_channels,
            out_channels=schema.out_channels,
            positional_embedding=None if everywhere else "grid",  # type: ignore[arg-type]
        )
        self.register_state_dict_post_hook(_without_metadata)

    def forward(self, batch: Sample) -> Float[Tensor, "b s m o"]:
        """Prediction on the input's grid, in physical units."""
        axes, order = grid_axes(batch.x)
        sizes = tuple(len(axes[a]) for a in order)
        if batch.y.shape != batch.x.shape or not torch.equal(batch.y, batch.x):
            raise ValueError(
                f"FNO answers on the grid of its input ({batch.x.shape[1]} points), got {batch.y.shape[1]} other queries. "
                "Predict on the grid and interpolate, or use a `FieldOperator`."
            )
        if any(size % 2 for size in sizes[:-1]):
            raise ValueError(
                f"FNO of neuraloperator 2.0.0 is wrong on odd grid sizes, got {sizes}. "
                "Use even sizes, or drop the last line of points."
            )
        ascending = [axes[a].argsort() for a in order]  # points moved by a symmetry may run backwards
        u = _take(self.normalizer.inputs(batch.u).reshape(len(batch.u), *sizes, -1).movedim(-1, 1), ascending)
        with torch.autocast(u.device.type, enabled=False):  # complex weights have no half precision
            v = _take(self.net(u), [index.argsort() for index in ascending])
        return self.normalizer.physical(v.movedim(1, -1).reshape(len(u), 1, batch.x.shape[1], -1))


def _without_metadata(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """neuraloperator adds its constructor's arguments to the state dict, where Lightning and safetensors choke on them."""
    for key in [key for key in state if key.endswith("_metadata")]:
        state.pop(key)


def _take(values: Tensor, orders: list[Tensor]) -> Tensor:
    """Reorders every grid axis of (b c …)."""
    for axis, order in enumerate(orders, start=2):
        values = values.index_select(axis, order)
    return values
