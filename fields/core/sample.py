"""What flows through the framework: samples, their schema, and latent tokens.

Letters, here and everywhere: ``b`` batch, ``n`` input points, ``m`` query points, ``k`` tokens,
``h`` token width, ``d`` coordinates, ``c``/``o`` channels in/out, ``p`` parameters, ``s`` time
steps. Channels last; a mask is True where real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Sample(NamedTuple):
    """One input function with its queries and targets, in physical units; ``collate`` adds the batch axis.

    A batch whose samples share their points (the same grid) carries ``x``, ``y`` and their masks
    once, with b = 1, and everything that depends on positions alone is then computed once for the
    whole batch.
    """

    x: Float[Tensor, "*b n d"]  # where the input function is given
    u: Float[
        Tensor, "*b n c"
    ]  # its values there; a history of frames is stacked in c, oldest first
    x_mask: Bool[Tensor, "*b n"]
    y: Float[Tensor, "*b m d"]  # where the output is wanted
    v: Float[Tensor, "*b s m o"]  # the targets there; s = 1 for static maps
    y_mask: Bool[Tensor, "*b m"]
    t: Float[
        Tensor, "*b s"
    ]  # times of the targets relative to the input's last frame; 0 for static maps
    params: Float[Tensor, "*b p"]  # constants of the PDE; p = 0 when there are none


@dataclass(frozen=True)
class Schema:
    """Names, units and geometry of a problem: what a model was trained for and what it asks of a file.

    Args:
        coords: names of the d coordinates, in the order of the last axis of ``Sample.x``.
        inputs, outputs, params: variable names, in channel order.
        units: unit of each coordinate, variable and parameter that has one.
        periodic: per axis, whether the domain closes on itself; by default none does.
        homogeneous: per axis, whether the operator commutes with translations along it; models then
            see no absolute position there; by default along none.
        bounds: per axis, (low, high) of the domain; the period of a periodic axis is high − low.
        grid: points per axis of the training grid, None for scattered points.
        dt: time between frames of evolution problems, None for static maps.
        history: number of input frames stacked in the input channels.
        weight: the input variable that holds quadrature weights of the points, if there is one;
            encoders that average over points average with it.
    """

    coords: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    periodic: tuple[bool, ...] = ()
    homogeneous: tuple[bool, ...] = ()
    bounds: tuple[tuple[float, float], ...] = ()
    grid: tuple[int, ...] | None = None
    dt: float | None = None
    history: int = 1
    weight: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and self.weight not in self.inputs:
            raise ValueError(
                f"Schema names the weights {self.weight!r}, which are not among the inputs {self.inputs}."
            )
        for name in ("periodic", "homogeneous"):
            if not getattr(self, name):
                object.__setattr__(self, name, (False,) * self.dim)
        for name in ("periodic", "homogeneous", "bounds"):
            if len(getattr(self, name)) != self.dim:
                raise ValueError(
                    f"Schema has {self.dim} coordinates {self.coords} but {len(getattr(self, name))} entries in "
                    f"`{name}`. Give one per coordinate."
                )

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return len(self.coords)

    @property
    def in_channels(self) -> int:
        """Number of input channels c, history included."""
        return len(self.inputs) * self.history

    @property
    def out_channels(self) -> int:
        """Number of output channels o."""
        return len(self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Inverse of :meth:`to_dict`; lists read from JSON become tuples again."""
        values = dict(values)
        for name in ("coords", "inputs", "outputs", "params", "periodic", "homogeneous"):
            values[name] = tuple(values[name])
        values["bounds"] = tuple((float(low), float(high)) for low, high in values["bounds"])
        values["grid"] = None if values["grid"] is None else tuple(values["grid"])
        return cls(**values)


class Latent(NamedTuple):
    """Tokens, where they live, and which axes close on themselves.

    Positions are in the model's unit coordinates: each axis is mapped to [−1/2, 1/2], so a period
    is 1.
    """

    z: Float[Tensor, "b k h"]
    pos: Float[Tensor, "#b k d"]
    periodic: Bool[Tensor, "d"]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stacks samples along a new batch axis; points are shared (b = 1) if equal, else padded to the longest and masked.

    Shape: x (n d) -> (b n d) or (1 n d), u (n c) -> (b n c), v (s m o) -> (b s m o), and so on.
    """
    first = samples[0]
    x, x_mask = _stack_points([s.x for s in samples], [s.x_mask for s in samples])
    y, y_mask = _stack_points([s.y for s in samples], [s.y_mask for s in samples])
    n, m = x.shape[1], y.shape[1]
    u = torch.stack([_pad(s.u, n, axis=0) for s in samples])
    v = torch.stack([_pad(s.v, m, axis=1) for s in samples])
    t = (
        torch.stack([s.t for s in samples])
        if first.t.ndim
        else torch.stack([s.t[None] for s in samples])
    )
    return Sample(x, u, x_mask, y, v, y_mask, t, torch.stack([s.params for s in samples]))


def _stack_points(points: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
    same = all(
        p is points[0] or (p.shape == points[0].shape and torch.equal(p, points[0]))
        for p in points[1:]
    )
    same = same and all(bool(mask.all()) for mask in masks)
    if same:
        return points[0][None], masks[0][None]
    longest = max(len(p) for p in points)
    return torch.stack([_pad(p, longest, axis=0) for p in points]), torch.stack(
        [_pad(q, longest, axis=0) for q in masks]
    )


def _pad(values: Tensor, length: int, axis: int) -> Tensor:
    """Zero-padded (False for masks) along ``axis``."""
    missing = length - values.shape[axis]
    if missing == 0:
        return values
    shape = list(values.shape)
    shape[axis] = missing
    return torch.cat([values, values.new_zeros(shape)], dim=axis)
