"""The limitations of a model, in sentences that follow from its data."""

from __future__ import annotations

import math

from fields.data.datamodule import FieldDataModule
from fields.data.scaling import Statistics


def limitations(data: FieldDataModule) -> str:
    """The data, domain, grid and times of training and test; everything else is untested."""
    s = data.schema
    assert s is not None, "the data module is set up before"
    given = ", ".join(f"{name} {_spread(data.statistics[name])}" for name in (*s.inputs, *s.params))
    box = " × ".join(
        f"{c} in [{low:g}, {high:g}]" for c, (low, high) in zip(s.coords, s.bounds, strict=True)
    )
    points = "scattered points" if s.grid is None else f"{'x'.join(map(str, s.grid))} points"
    sentences = [f"Trained on {given}; {box} on {points}.", f"Tested at {', '.join(data.tests)}."]
    if s.dt is not None:
        longest = max(rows.horizon for rows in data.tests.values())
        sentences.append(
            f"Training windows of {data.train.horizon} steps of {s.dt:g}, test rollouts of "
            f"{longest} steps."
        )
    sentences.append(
        "Inputs of another distribution, other coefficients, boundary values and domains were not "
        "tested."
    )
    return " ".join(sentences)


def _spread(known: Statistics) -> str:
    if math.isfinite(known.low) and math.isfinite(known.high):
        return f"from {known.low:.3g} to {known.high:.3g}"
    return f"with mean {known.mean:.3g} and standard deviation {known.std:.3g}"
