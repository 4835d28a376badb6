"""What a model was made for, in sentences that follow from its data."""

from __future__ import annotations

import math

from fields.core.sample import Schema
from fields.data.datamodule import FieldDataModule
from fields.data.scaling import Statistics


def limitations(data: FieldDataModule) -> str:
    """Where the model was trained and tested, and that elsewhere nothing is known of it."""
    s = data.schema
    assert s is not None, "set up before"
    given = ", ".join(f"{name} {_spread(data.statistics[name])}" for name in (*s.inputs, *s.params))
    box = " × ".join(
        f"{c} in [{low:g}, {high:g}]" for c, (low, high) in zip(s.coords, s.bounds, strict=True)
    )
    sentences = [f"Trained on {given}; {box}{_points(s)}.", f"Tested at {', '.join(data.tests)}."]
    if s.dt is not None:
        longest = max(rows.horizon for rows in data.tests.values())
        sentences.append(
            f"Windows of {data.train.horizon} steps of {s.dt:g} in training, rollouts of {longest} in the test."
        )
    sentences.append(
        "Inputs of another distribution, other coefficients, boundary values and domains were not tested."
    )
    return " ".join(sentences)


def _points(s: Schema) -> str:
    return " on scattered points" if s.grid is None else f" on {'x'.join(map(str, s.grid))} points"


def _spread(known: Statistics) -> str:
    if math.isfinite(known.low) and math.isfinite(known.high):
        return f"from {known.low:.3g} to {known.high:.3g}"
    return f"of mean {known.mean:.3g} and standard deviation {known.std:.3g}"
