"""Exact symmetries of an operator, applied by moving coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fields.core.sample import Sample, Schema

KEYS = ("flip", "negate", "permute", "shift")


@dataclass(frozen=True)
class Symmetry:
    r"""Generators g under which the operator is equivariant: if a ↦ u then a∘g ↦ u∘g.

    The values stay and the points move, x ↦ g(x), inputs and queries alike. Nothing is
    interpolated, so the transformed data are exact on any set of points, including grids that g
    does not map to themselves.

    Args:
        schema: names and geometry.
        generators: each a mapping with any of ``flip`` (axes mirrored at the center of the domain),
            ``permute`` (new order of all axes), ``shift`` (periodic axes translated by any amount)
            and ``negate`` (variables that change sign).

    Raises:
        ValueError: a generator has an unknown key or axis, shifts an axis that is not periodic, or
            permutes axes of different bounds.

    Example:
        >>> schema = Schema(("x",), inputs=("a",), outputs=("u",), bounds=((0.0, 1.0),))
        >>> mirror = Symmetry(schema, [{"flip": ["x"], "negate": ["u"]}])
        >>> x, a, mask = torch.tensor([[[0.25]]]), torch.ones(1, 1, 1), torch.ones(1, 1) > 0
        >>> batch = Sample(x, a, mask, x, a[None], mask, torch.zeros(1, 1), torch.zeros(1, 0))
        >>> moved, sign = mirror.element(batch, [True])
        >>> moved.x.item(), moved.u.item(), sign.tolist()
        (0.75, 1.0, [-1.0])
    """

    schema: Schema
    generators: Sequence[Mapping[str, Sequence[str]]]

    def __post_init__(self) -> None:
        for generator in self.generators:
            self._check(generator)

    def _check(self, generator: Mapping[str, Sequence[str]]) -> None:
        schema = self.schema
        given = dict(generator)
        unknown = sorted(set(generator) - set(KEYS))
        axes = [name for key in ("flip", "permute", "shift") for name in generator.get(key, ())]
        unknown = unknown or [name for name in axes if name not in schema.coords]
        if unknown:
            raise ValueError(
                f"The symmetry {given} names {unknown}; known are the keys {list(KEYS)} and the "
                f"axes {list(schema.coords)}."
            )
        periodic = dict(zip(schema.coords, schema.periodic, strict=True))
        if not all(periodic[name] for name in generator.get("shift", ())):
            raise ValueError(
                f"The symmetry {given} shifts an axis that is not periodic. Remove the shift, or "
                "declare the axis periodic in the file."
            )
        if "permute" in generator and len(set(schema.bounds)) > 1:
            raise ValueError(
                f"The symmetry {given} permutes axes of different bounds {schema.bounds}. Only "
                "axes of equal bounds can be exchanged."
            )

    def __call__(self, batch: Sample, random: torch.Generator) -> Sample:
        """The batch moved by one random element of the group; points that are shared stay shared.

        Each generator is applied with probability 1/2, shifts always.
        """
        for generator in self.generators:
            if "shift" in generator or torch.rand((), generator=random) < 0.5:
                batch = self._apply(generator, batch, random)
        return batch

    def element(self, batch: Sample, chosen: Sequence[bool]) -> tuple[Sample, Tensor]:
        """The batch moved by the chosen generators, and the sign of each output channel (o)."""
        sign = torch.ones(len(self.schema.outputs), device=batch.u.device)
        for generator, on in zip(self.generators, chosen, strict=True):
            if on:
                batch = self._apply(generator, batch, torch.Generator())
                sign = sign * _signs(generator, self.schema.outputs, sign)
        return batch, sign

    def _apply(
        self, generator: Mapping[str, Any], batch: Sample, random: torch.Generator
    ) -> Sample:
        low, high = torch.tensor(self.schema.bounds, dtype=batch.x.dtype).T.to(batch.x.device)
        index = self.schema.coords.index
        x = batch.x
        y = batch.y
        for name in generator.get("flip", ()):
            a = index(name)
            x, y = (_replace(points, a, low[a] + high[a] - points[..., a]) for points in (x, y))
        for name in generator.get("shift", ()):
            a = index(name)
            step = torch.rand((), generator=random).to(x) * (high[a] - low[a])
            x, y = (
                _replace(p, a, low[a] + (p[..., a] + step - low[a]) % (high[a] - low[a]))
                for p in (x, y)
            )
        if "permute" in generator:
            order = [index(name) for name in generator["permute"]]
            x = x[..., order]
            y = y[..., order]
        u = batch.u * _signs(generator, self.schema.inputs * self.schema.history, batch.u)
        v = batch.v * _signs(generator, self.schema.outputs, batch.v)
        return batch._replace(x=x, y=y, u=u, v=v)


def _replace(points: Tensor, axis: int, values: Tensor) -> Tensor:
    """The points with the coordinates along one axis replaced."""
    return torch.cat([points[..., :axis], values[..., None], points[..., axis + 1 :]], dim=-1)


def _signs(generator: Mapping[str, Any], names: Sequence[str], like: Tensor) -> Tensor:
    """−1 for the variables that the generator negates, 1 for the others."""
    negated = generator.get("negate", ())
    return torch.tensor([-1.0 if name in negated else 1.0 for name in names]).to(like)
