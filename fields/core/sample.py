"""What flows through the framework: samples, their schema, and latent tokens.

Letters, here and everywhere: ``b`` batch, ``n`` input points, ``m`` query points, ``k`` tokens,
``h`` token width, ``d`` coordinates, ``c``/``o`` channels in/out, ``p`` parameters, ``s`` time
steps. Channels last; a mask is True at real points and False at padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Sample(NamedTuple):
    """One input function with its queries and targets, in physical units.

    Tensors are in single precision, except where it would lose digits of the stored numbers.

    `collate` adds the batch axis. A batch whose samples share their points (the same grid) holds
    ``x`` and ``y`` once, with b = 1, and everything that depends only on positions is then computed
    once for the whole batch. The same holds for their masks.

    Attributes:
        x: n points where the input function is given.
        u: its values there; a history of frames is stacked in c, oldest first.
        x_mask: which input points are real; the others are padding.
        y: m points where the output is wanted.
        v: the targets there; s = 1 for static maps.
        y_mask: which query points are real.
        t: times of the targets relative to the input's last frame; 0 for static maps.
        params: constants of the PDE; p = 0 when there are none.

    Example:
        >>> x, mask = torch.rand(5, 1), torch.ones(5, dtype=torch.bool)
        >>> u, v = torch.rand(5, 2), torch.rand(1, 5, 3)
        >>> sample = Sample(x, u, mask, x, v, mask, t=torch.zeros(1), params=torch.zeros(0))
        >>> batch = collate([sample, sample])
        >>> batch.x.shape, batch.u.shape, batch.v.shape
        (torch.Size([1, 5, 1]), torch.Size([2, 5, 2]), torch.Size([2, 1, 5, 3]))
    """

    x: Float[Tensor, "*b n d"]
    u: Float[Tensor, "*b n c"]
    x_mask: Bool[Tensor, "*b n"]
    y: Float[Tensor, "*b m d"]
    v: Float[Tensor, "*b s m o"]
    y_mask: Bool[Tensor, "*b m"]
    t: Float[Tensor, "*b s"]
    params: Float[Tensor, "*b p"]


@dataclass(frozen=True)
class Schema:
    """Names, units and geometry of a problem: what a model was trained for and needs from a file.

    Args:
        coords: names of the d coordinates, in the order of the last axis of ``Sample.x``.
        inputs: names of the input variables, in channel order.
        outputs: names of the output variables, in channel order.
        params: names of the constants of the PDE.
        units: unit of each coordinate, variable and parameter that has one.
        periodic: per axis, whether the domain is periodic along it; by default along none.
        homogeneous: per axis, whether the operator commutes with translations along it; models then
            receive no absolute position along it. By default along none.
        bounds: per axis, (low, high) of the domain; the period of a periodic axis is high − low.
        grid: points per axis of the training grid, None for scattered points.
        dt: time between frames of evolution problems, None for static maps.
        history: number of input frames stacked in the input channels.
        weight: the input variable that holds quadrature weights of the points, if there is one;
            encoders that average over points average with it.

    Raises:
        ValueError: the weights are not an input, or there is not one entry per coordinate.

    Example:
        >>> schema = Schema(
        ...     coords=("x",), inputs=("u", "c"), outputs=("u",), bounds=((0.0, 1.0),), history=3
        ... )
        >>> schema.dim, schema.in_channels, schema.out_channels, schema.periodic
        (1, 6, 1, (False,))
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
                f"The schema names the quadrature weights {self.weight!r}, which are not among its "
                f"inputs {self.inputs}. Add them to the inputs."
            )
        for name in ("periodic", "homogeneous"):
            if not getattr(self, name):
                object.__setattr__(self, name, (False,) * self.dim)
        for name in ("periodic", "homogeneous", "bounds"):
            entries = len(getattr(self, name))
            if entries != self.dim:
                raise ValueError(
                    f"The schema has {self.dim} coordinates {self.coords} but {entries} entries in "
                    f"`{name}`. Give one entry per coordinate."
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
        """Convert to plain Python values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Invert :meth:`to_dict`; lists read from JSON become tuples again."""
        values = dict(values)
        for name in ("coords", "inputs", "outputs", "params", "periodic", "homogeneous"):
            values[name] = tuple(values[name])
        values["bounds"] = tuple((float(low), float(high)) for low, high in values["bounds"])
        values["grid"] = None if values["grid"] is None else tuple(values["grid"])
        return cls(**values)


class Latent(NamedTuple):
    """Tokens, their positions, and the periodic axes.

    Positions are in the model's unit coordinates: each axis is mapped to [−1/2, 1/2], so that a
    period is 1.

    Attributes:
        z: tokens.
        pos: positions of the tokens; b = 1 where all samples share them.
        periodic: per axis, whether the domain is periodic along it.

    Example:
        >>> pos = torch.linspace(-0.5, 0.5, 4)[None, :, None]
        >>> latent = Latent(torch.zeros(2, 4, 8), pos, torch.tensor([False]))
        >>> latent._replace(z=latent.z + 1).z.shape
        torch.Size([2, 4, 8])
    """

    z: Float[Tensor, "b k h"]
    pos: Float[Tensor, "#b k d"]
    periodic: Bool[Tensor, "d"]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples along a new batch axis.

    Points that all samples share are stored once (b = 1), and so is a mask that they share. Points
    that differ are padded with zeros to the longest sample and masked.

    Shape: x (n d) -> (b n d) or (1 n d), u (n c) -> (b n c), v (s m o) -> (b s m o), and so on.
    """
    first = samples[0]
    x, x_mask = _stack_points([s.x for s in samples], [s.x_mask for s in samples])
    y, y_mask = _stack_points([s.y for s in samples], [s.y_mask for s in samples])
    n = x.shape[1]
    m = y.shape[1]
    u = torch.stack([_pad(s.u, n, axis=0) for s in samples])
    v = torch.stack([_pad(s.v, m, axis=1) for s in samples])
    t = torch.stack([s.t if first.t.ndim else s.t[None] for s in samples])
    return Sample(x, u, x_mask, y, v, y_mask, t, torch.stack([s.params for s in samples]))


def to_device(batch: Sample, device: torch.device) -> Sample:
    """Copy a batch to another device."""
    return Sample(*(tensor.to(device) for tensor in batch))


def _stack_points(points: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
    first = points[0]
    if all(_same(p, first) for p in points[1:]):
        same_mask = all(_same(mask, masks[0]) for mask in masks[1:])
        return first[None], masks[0][None] if same_mask else torch.stack(masks)
    longest = max(len(p) for p in points)
    padded = torch.stack([_pad(p, longest, axis=0) for p in points])
    return padded, torch.stack([_pad(mask, longest, axis=0) for mask in masks])


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def _pad(values: Tensor, length: int, axis: int) -> Tensor:
    """Pad with zeros (False for masks) along ``axis``."""
    missing = length - values.shape[axis]
    if missing == 0:
        return values
    shape = list(values.shape)
    shape[axis] = missing
    return torch.cat([values, values.new_zeros(shape)], dim=axis)
