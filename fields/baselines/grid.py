"""Models on regular grids, and the models of the neuraloperator library."""

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

# Relative difference of spacings that counts as even: coordinates have single precision.
SPACING_TOLERANCE = 0.01


class GridOperator(InputPointOperator, ABC):
    """A model on regular grids of any resolution.

    It is given the input with the axes in the order of the schema, each ascending, and the
    constants of the PDE as further channels.

    Raises:
        ValueError: the points do not form a regular grid, or are unevenly spaced along an axis.

    Example:
        >>> class Copy(GridOperator):
        ...     def forward_on_grid(self, u, axes):
        ...         return u
        >>> schema = Schema(("x", "y"), ("a",), ("u",), bounds=((0.0, 1.0), (0.0, 1.0)))
        >>> model = Copy(schema=schema, normalizer=Normalizer(schema, {"a": (0, 1), "u": (0, 1)}))
        >>> model.channels
        1
    """

    def __init__(self, *, schema: Schema, normalizer: Normalizer) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.channels = schema.in_channels + len(schema.params)

    @abstractmethod
    def forward_on_grid(
        self, u: Float[Tensor, "b c *sizes"], axes: list[Tensor]
    ) -> Float[Tensor, "b o *sizes"]:
        """Normalized output on the grid.

        Args:
            u: normalized inputs.
            axes: unit coordinates along every axis.
        """

    def forward_at_input(self, batch: Sample) -> Float[Tensor, "b n o"]:
        """The output at the input points, computed on the grid that they form."""
        axes, order = self._grid(batch)
        sizes = [len(axes[a]) for a in order]
        given = self.normalizer.masked_inputs(batch.u, batch.x_mask, batch.params)
        given = given.reshape(len(batch.u), *sizes, -1)
        u, ascending = sort_axes(given, axes, order)
        constants = (
            self.normalizer.params(batch.params)
            .reshape(len(u), *(1 for _ in sizes), -1)
            .expand(*u.shape[:-1], -1)
        )
        lines = [
            ((line - self.normalizer.center[a]) / self.normalizer.extent[a]).to(u.dtype)
            for a, line in enumerate(ascending)
        ]
        channels = torch.cat([u, constants], dim=-1).movedim(-1, 1)
        v = self.forward_on_grid(channels, lines).movedim(1, -1)
        for a, axis in enumerate(axes):
            v = v.index_select(1 + a, axis.argsort().argsort())
        return v.permute(0, *(1 + a for a in order), -1).flatten(1, -2)

    def _grid(self, batch: Sample) -> tuple[list[Tensor], list[int]]:
        """Coordinates along the axes of the input's grid, and their order in the input."""
        name = type(self).__name__
        other = "Use `Transolver`, or a `FieldOperator` with the `CrossAttentionEncoder` encoder."
        found = grid_axes(batch.x)
        if found is None:
            raise ValueError(
                f"{name} needs one regular grid for all samples, got {batch.x.shape[1]} points "
                f"that are not the product of their axes. {other}"
            )
        for coordinate, line in zip(self.schema.coords, found[0], strict=True):
            gaps = line.sort().values.diff()
            if len(gaps) > 1 and gaps.max() - gaps.min() > SPACING_TOLERANCE * gaps.mean():
                raise ValueError(
                    f"{name} needs evenly spaced points along `{coordinate}`, got gaps from "
                    f"{gaps.min():.3g} to {gaps.max():.3g}. {other}"
                )
        return found


class NeuralopModel(GridOperator, ABC):
    """A model of the neuraloperator library.

    The spectral convolution of neuraloperator 2.0 is wrong on odd sizes of any axis but the last
    (the identity is off by more than 100 %), so that such grids are refused. On homogeneous axes
    the coordinate is not an input: the model then commutes with translations, as the problem does.

    Args:
        schema, normalizer: the problem.
        divisor: sizes of all axes but the last must be multiples of it.

    Raises:
        ValueError: a size is not a multiple of `divisor`.

    Example:
        >>> from fields.baselines.fno import FNO
        >>> schema = Schema(("x", "y"), ("a",), ("u",), bounds=((0.0, 1.0),) * 2, grid=(16, 16))
        >>> normalizer = Normalizer(schema, {"a": (0, 1), "u": (0, 1)})
        >>> model = FNO(schema=schema, normalizer=normalizer, modes=4, width=8)
        >>> isinstance(model, NeuralopModel), model.divisor
        (True, 2)
    """

    net: nn.Module

    @abstractmethod
    def __init__(self, *, schema: Schema, normalizer: Normalizer, divisor: int) -> None:
        super().__init__(schema=schema, normalizer=normalizer)
        self.divisor = divisor

    def set_network(self, net: nn.Module) -> None:
        """Use this network of the library."""
        self.net = net
        self.register_state_dict_post_hook(_drop_metadata)

    def forward_on_grid(
        self, u: Float[Tensor, "b c *sizes"], axes: list[Tensor]
    ) -> Float[Tensor, "b o *sizes"]:
        """The output of the wrapped network on the same grid."""
        sizes = tuple(u.shape[2:])
        if any(size % self.divisor for size in sizes[:-1]):
            kind = (
                "odd grid sizes"
                if self.divisor == 2
                else f"grid sizes that are not multiples of {self.divisor}"
            )
            raise ValueError(
                f"{type(self).__name__} of neuraloperator 2.0.0 is wrong on {kind}, got {sizes}. "
                f"Use multiples of {self.divisor} on all axes but the last, for example by "
                "dropping points."
            )
        # Complex weights have no half precision.
        with torch.autocast(u.device.type, enabled=False):
            return self.net(u)


def positional_embedding(schema: Schema) -> Any:
    """The coordinates as inputs of neuraloperator's models; None on homogeneous domains.

    The annotations of neuraloperator omit the None that its constructors accept.
    """
    return None if all(schema.homogeneous) else "grid"


def coordinate_channels(axes: list[Tensor], batch: int) -> Float[Tensor, "b d *sizes"]:
    """Unit coordinates of every grid point as channels.

    Example:
        >>> coordinate_channels([torch.arange(4.0), torch.arange(3.0)], batch=2).shape
        torch.Size([2, 2, 4, 3])
    """
    return repeat(torch.stack(torch.meshgrid(*axes, indexing="ij")), "d ... -> b d ...", b=batch)


def _drop_metadata(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Remove the constructor's arguments, which neuraloperator adds to the state dict.

    They are not tensors: neither Lightning nor safetensors can store them there.
    """
    for key in [key for key in state if key.endswith("_metadata")]:
        state.pop(key)
