"""Exact symmetries of an operator, applied by moving coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fields.core.sample import Sample, Schema


@dataclass(frozen=True)
class Symmetry:
    r"""Generators g under which the operator is equivariant: if a ↦ u then a∘g ↦ u∘g.

    A model that takes coordinates needs no new data for this: the values stay and the points move,
    x ↦ g(x), inputs and queries alike. Nothing is interpolated, so it is exact on any grid, one
    that the mirror image does not fit included.

    Args:
        schema: names and geometry.
        generators: each a mapping with any of ``flip`` (axes mirrored at the center of the domain),
            ``permute`` (new order of all axes), ``shift`` (periodic axes translated by any amount)
            and ``negate`` (variables that change sign).
    """

    schema: Schema
    generators: Sequence[Mapping[str, Sequence[str]]]

    def __post_init__(self) -> None:
        known = {"flip", "permute", "shift", "negate"}
        for generator in self.generators:
            unknown = set(generator) - known
            axes = [name for key in ("flip", "permute", "shift") for name in generator.get(key, ())]
            strange = [name for name in axes if name not in self.schema.coords]
            if unknown or strange:
                raise ValueError(
                    f"Symmetry {dict(generator)} names {sorted(unknown) or strange}; known are {sorted(known)} "
                    f"on axes {self.schema.coords}."
                )
            if any(
                not self.schema.periodic[self.schema.coords.index(name)]
                for name in generator.get("shift", ())
            ):
                raise ValueError(f"Symmetry {dict(generator)} shifts an axis that is not periodic.")
            if "permute" in generator and len({b for b in self.schema.bounds}) > 1:
                raise ValueError(
                    f"Symmetry {dict(generator)} permutes axes of different bounds {self.schema.bounds}."
                )

    def __call__(self, batch: Sample, random: torch.Generator) -> Sample:
        """One random element of the group for the whole batch, so that shared points stay shared."""
        for generator in self.generators:
            if "shift" in generator or torch.rand((), generator=random) < 0.5:
                batch = self._apply(generator, batch, random)
        return batch

    def element(self, batch: Sample, chosen: Sequence[bool]) -> tuple[Sample, Tensor]:
        """The batch moved by the chosen generators, and the sign with which each output channel comes back."""
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
        x, y = batch.x, batch.y
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
            x, y = x[..., order], y[..., order]
        u = batch.u * _signs(generator, self.schema.inputs * self.schema.history, batch.u)
        v = batch.v * _signs(generator, self.schema.outputs, batch.v)
        return batch._replace(x=x, y=y, u=u, v=v)


def _replace(points: Tensor, axis: int, values: Tensor) -> Tensor:
    return torch.cat([points[..., :axis], values[..., None], points[..., axis + 1 :]], dim=-1)


def _signs(generator: Mapping[str, Any], names: Sequence[str], like: Tensor) -> Tensor:
    return torch.tensor(
        [-1.0 if name in generator.get("negate", ()) else 1.0 for name in names]
    ).to(like)
