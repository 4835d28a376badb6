"""Missing values on grids: where a variable has none, and the refusal of everything not finite.

NaN on a grid means that there is no value (land, padding), if it is at the same points in every
sample and frame, or if the variable states ``attrs["missing"] = 1``. Every other NaN, and every
infinite value, is an error of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.core.component import CheckpointError
from fields.data.chunks import iter_chunks
from fields.io.base import DataError


class FiniteCheck(NamedTuple):
    """Refuses values of one variable that are neither finite nor missing by declaration.

    Args:
        name: of the variable.
        dims: its dims.
        expected: True where the reference sample has no value, over the dims of space; None where
            NaN may be anywhere.
        reference: number of that sample.
        lengths: frames of every sample of the file, if trajectories end early.
        largest: largest absolute value that the working precision holds.
        strides: by dim, which entries are used.

    Example:
        >>> variable = xr.Variable(("sample", "x"), [[1.0, np.nan], [np.nan, np.nan]])
        >>> check = FiniteCheck.of("u", variable, reference=0)
        >>> check(np.array([1]), 0, variable.values[1:])
        Traceback (most recent call last):
        fields.io.base.DataError: `u` is nan at sample 1, x 0, where sample 0 has a value. ...
    """

    name: str
    dims: tuple[str, ...]
    expected: np.ndarray | None
    reference: int
    lengths: np.ndarray | None
    largest: float
    strides: Mapping[str, slice]

    @classmethod
    def of(
        cls,
        name: str,
        variable: xr.Variable,
        *,
        reference: int,
        anywhere: bool = False,
        lengths: np.ndarray | None = None,
        largest: float = np.inf,
        strides: Mapping[str, slice] | None = None,
    ) -> FiniteCheck:
        """The check of one variable; its missing values are those of the reference sample.

        Args:
            name: of the variable.
            variable: lazy or in memory.
            reference: number of the sample.
            anywhere: whether NaN may be anywhere.
            lengths, largest, strides: see the class.
        """
        strides = strides or {}
        expected = None
        if not anywhere and not variable.attrs.get("missing"):
            frame = variable.isel(sample=reference, time=0, missing_dims="ignore")
            frame = frame.isel({dim: s for dim, s in strides.items() if dim in frame.dims})
            values = np.asarray(frame.values, dtype=np.float64)
            expected = np.isnan(values)
        dims = tuple(map(str, variable.dims))
        return cls(name, dims, expected, reference, lengths, largest, strides)

    @property
    def complete(self) -> bool:
        """Whether every value must be finite."""
        return self.expected is not None and not self.expected.any()

    def __call__(self, numbers: np.ndarray, first: int, values: np.ndarray) -> None:
        """Check the values of some samples from frame ``first`` on.

        Raises:
            DataError: a value is infinite, or NaN where the reference sample has a value, or the
                other way round; the message names its place.
        """
        values = np.asarray(values, dtype=np.float64)
        too_large = np.abs(values) > self.largest
        too_large |= np.isinf(values)
        if too_large.any():
            place = self._place(too_large, numbers, first)
            value = values[tuple(np.argwhere(too_large)[0])]
            raise DataError(
                f"`{self.name}` is {value:g} at {place}, which cannot be trained on or predicted "
                "from. Correct the value, or drop the sample."
            )
        if self.expected is None:
            return
        missing = np.isnan(values)
        wrong = missing != self._broadcast(self.expected)
        if self.lengths is not None and len(numbers) and "time" in self.dims:
            axis = self.dims.index("time")
            frames = first + np.arange(values.shape[axis])
            ended = frames >= self.lengths[numbers][:, None]
            shape = [1] * values.ndim
            shape[self.dims.index("sample")], shape[axis] = ended.shape
            wrong &= ~ended.reshape(shape)
        if wrong.any():
            index = tuple(np.argwhere(wrong)[0])
            state = "is nan" if missing[index] else "has a value"
            other = "has a value" if missing[index] else "has none"
            raise DataError(
                f"`{self.name}` {state} at {self._place(wrong, numbers, first)}, where sample "
                f"{self.reference} {other}. Correct or drop the sample; if values are missing at "
                f"different points on purpose, set `ds['{self.name}'].attrs['missing'] = 1`."
            )

    def _broadcast(self, expected: np.ndarray) -> np.ndarray:
        """With axes of length 1 for sample and time."""
        for axis, dim in enumerate(self.dims):
            if dim in ("sample", "time"):
                expected = np.expand_dims(expected, axis)
        return expected

    def _place(self, wrong: np.ndarray, numbers: np.ndarray, first: int) -> str:
        """Where the first wrong value is, in the file."""
        parts = []
        for dim, i in zip(self.dims, np.argwhere(wrong)[0], strict=True):
            index = int(i)
            if dim == "sample":
                index = int(numbers[index])
            elif dim == "time":
                index += first
            else:
                index *= self.strides.get(dim, slice(None)).step or 1
            parts.append(f"{dim} {index}")
        return ", ".join(parts) or "its only entry"


def check_values(check: FiniteCheck, variable: xr.Variable, indices: np.ndarray) -> None:
    """Check all values of some samples, chunk by chunk, without holding them.

    Raises:
        DataError: see `FiniteCheck`.
    """
    slices = tuple(check.strides.get(dim, slice(None)) for dim in check.dims)
    for numbers, first, values in iter_chunks(variable, np.unique(indices)):
        values = values[slices]
        if not check.complete or not within(values, check.largest):
            check(numbers, first, values)


def within(values: np.ndarray, largest: float) -> bool:
    """Whether all values are finite and at most ``largest`` in size."""
    if not values.size or values.dtype.kind in "biu":
        return True
    low = float(values.min())
    high = float(values.max())
    return bool(np.isfinite(low) and np.isfinite(high) and max(-low, high) <= largest)


class MissingPlaces(nn.Module):
    """Where the training data had no values, for predictions at any points.

    A point belongs to the nearest point of the training grid. The tables are buffers, so that they
    are stored with the model.

    Args:
        axes: coordinates along every axis of the training grid, in unit coordinates.
        inputs: True where an input may be missing.
        outputs: True where an output has no value in any sample.
        periodic: per axis, whether the domain is periodic.

    Shape: inputs (*grid c), outputs (*grid o).

    Example:
        >>> axes = [torch.tensor([-0.5, 0.0, 0.5])]
        >>> nowhere, left = torch.zeros(3, 1) > 0, torch.tensor([[True], [False], [False]])
        >>> places = MissingPlaces(axes, nowhere, left, (False,))
        >>> places.no_output(torch.tensor([[-0.4], [0.4]])).tolist()
        [[True], [False]]
    """

    axes: Tensor
    inputs: Tensor
    outputs: Tensor

    def __init__(
        self,
        axes: list[Float[Tensor, "n"]],
        inputs: Bool[Tensor, "*grid c"],
        outputs: Bool[Tensor, "*grid o"],
        periodic: tuple[bool, ...],
    ):
        super().__init__()
        self.periodic = periodic
        self.register_buffer("axes", torch.cat(axes))
        self.register_buffer("inputs", inputs)
        self.register_buffer("outputs", outputs)

    @classmethod
    def like(
        cls, stored: Mapping[str, Tensor], periodic: tuple[bool, ...], device: Any
    ) -> MissingPlaces:
        """Tables of the shapes that a checkpoint stores, to load it into.

        Raises:
            CheckpointError: the shapes do not fit together.
        """
        shapes = {key: tuple(value.shape) for key, value in stored.items()}
        sizes = shapes.get("inputs", ())[:-1]
        fits = set(shapes) == {"axes", "inputs", "outputs"} and (
            len(sizes) == len(periodic)
            and shapes["outputs"][:-1] == sizes
            and shapes["axes"] == (sum(sizes),)
        )
        if not fits:
            raise CheckpointError(
                f"The checkpoint stores missing values in tables of the shapes {shapes}, which do "
                f"not fit a grid of {len(periodic)} axes. Get the file again."
            )
        tables = {key: torch.empty_like(value, device=device) for key, value in stored.items()}
        return cls([tables["axes"]], tables["inputs"], tables["outputs"], periodic)

    def no_output(self, points: Float[Tensor, "m d"]) -> Bool[Tensor, "m o"]:
        """Whether an output never has a value at points in unit coordinates."""
        return self.outputs[self._nearest(points)]

    def input_may_be_missing(self, points: Float[Tensor, "m d"]) -> Bool[Tensor, "m c"]:
        """Whether an input may be missing within one cell of the training grid."""
        table = self.inputs
        for axis, closed in enumerate(self.periodic):
            size = table.shape[axis]
            before = table.roll(1, axis)
            after = table.roll(-1, axis)
            if not closed:
                before.select(axis, 0).fill_(False)
                after.select(axis, size - 1).fill_(False)
            table = table | before | after
        return table[self._nearest(points)]

    def _nearest(self, points: Float[Tensor, "m d"]) -> tuple[Tensor, ...]:
        """Per axis, the index of the nearest point of the training grid."""
        lines = self.axes.split(list(self.outputs.shape[:-1]))
        index = []
        for column, line, closed in zip(points.T, lines, self.periodic, strict=True):
            column = column.to(line.dtype)
            order = line.argsort()
            line = line[order]
            if closed:
                line = torch.cat([line[-1:] - 1, line, line[:1] + 1])
                order = torch.cat([order[-1:], order, order[:1]])
                column = column - column.round()
            middles = (line[1:] + line[:-1]) / 2
            index.append(order[torch.searchsorted(middles, column.contiguous())])
        return tuple(index)
