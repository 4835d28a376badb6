"""What models on regular grids have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from fields.baselines.base import InputPointOperator, sort_axes
from fields.core.sample import Sample, Schema
from fields.data.normalizer import Normalizer
from fields.nn.geometry import grid_axes

UNEVEN = 0.01  # gaps may differ by so much of their mean: coordinates are kept in single precision


class GridOperator(InputPointOperator, ABC):
    """A model of arrays: takes the input's grid, of any resolution, with its axes upright and the PDE's constants as channels.

    Raises:
        ValueError: the points are no regular grid, or unevenly spaced along an axis.
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer):
        super().__init__(schema=schema, normalizer=normalizer)
        self.channels = schema.in_channels + len(schema.params)

    @abstractmethod
    def forward_on_grid(
        self, u: Float[Tensor, "b c *sizes"], axes: list[Tensor]
    ) -> Float[Tensor, "b o *sizes"]:
        """Normalized output on the grid with these axes (unit coordinates)."""

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """See `InputPointOperator`."""
        if (found := grid_axes(batch.x)) is None:
            raise ValueError(
                f"{type(self).__name__} needs one regular grid for all samples, got {batch.x.shape[1]} points that are not the "
                "product of their axes. Use `Transolver`, or a `FieldOperator` with the `CrossAttentionEncoder` encoder."
            )
        axes, order = found
        for name, line in zip(self.schema.coords, axes, strict=True):
            gaps = line.sort().values.diff()
            if len(gaps) > 1 and gaps.max() - gaps.min() > UNEVEN * gaps.mean():
                raise ValueError(
                    f"{type(self).__name__} needs evenly spaced points along `{name}`, got gaps from {gaps.min():.3g} to "
                    f"{gaps.max():.3g}. Use `Transolver`, or a `FieldOperator` with the `CrossAttentionEncoder` encoder."
                )
        sizes = [len(axes[a]) for a in order]
        given = self.normalizer.inputs(batch.u, batch.params).reshape(len(batch.u), *sizes, -1)
        u, ascending = sort_axes(given, axes, order)
        constants = (
            self.normalizer.params(batch.params)
            .reshape(len(u), *(1 for _ in sizes), -1)
            .expand(*u.shape[:-1], -1)
        )
        lines = [
            (line - self.normalizer.center[a]) / self.normalizer.extent[a]
            for a, line in enumerate(ascending)
        ]
        v = self.forward_on_grid(torch.cat([u, constants], dim=-1).movedim(-1, 1), lines).movedim(
            1, -1
        )
        for a, axis in enumerate(axes):
            v = v.index_select(1 + a, axis.argsort().argsort())
        return v.permute(0, *(1 + a for a in order), -1).flatten(1, -2)


class NeuralopModel(GridOperator, ABC):
    """A model of neuraloperator 2.0, with a guard against its spectral convolution, which is wrong on odd sizes (identity off by
    over 100 %) of any axis but the last: sizes have to be multiples of ``divisor`` there.

    On homogeneous axes the grid is not given as an input, so that the model commutes with
    translations as the problem does.
    """

    @abstractmethod
    def __init__(self, *, schema: Schema, normalizer: Normalizer, divisor: int):
        super().__init__(schema=schema, normalizer=normalizer)
        self.divisor = divisor

    def set_network(self, net: nn.Module) -> None:
        """Makes ``net`` the model."""
        self.net = net
        self.register_state_dict_post_hook(_without_metadata)

    def forward_on_grid(
        self, u: Float[Tensor, "b c *sizes"], axes: list[Tensor]
    ) -> Float[Tensor, "b o *sizes"]:
        """See `GridOperator`."""
        sizes = tuple(u.shape[2:])
        if any(size % self.divisor for size in sizes[:-1]):
            kind = (
                "odd grid sizes"
                if self.divisor == 2
                else f"grid sizes that are no multiple of {self.divisor}"
            )
            raise ValueError(
                f"{type(self).__name__} of neuraloperator 2.0.0 is wrong on {kind}, got {sizes}. "
                f"Use multiples of {self.divisor}, or drop lines of points."
            )
        with torch.autocast(u.device.type, enabled=False):  # complex weights have no half precision
            return self.net(u)


def positional_embedding(schema: Schema) -> Any:
    """Whether neuraloperator gives the grid as an input; it takes None, which its annotations leave out."""
    return None if all(schema.homogeneous) else "grid"


def coordinate_channels(axes: list[Tensor], batch: int) -> Float[Tensor, "b d *sizes"]:
    """Unit coordinates of every grid point as channels."""
    return repeat(torch.stack(torch.meshgrid(*axes, indexing="ij")), "d ... -> b d ...", b=batch)


def _without_metadata(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """neuraloperator adds its constructor's arguments to the state dict, where Lightning and safetensors choke on them."""
    for key in [key for key in state if key.endswith("_metadata")]:
        state.pop(key)
