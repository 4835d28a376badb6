"""The verdict that a report leads with: better or worse than what needs no training, by how much.

A model is better than another predictor if its error is less than 0.95 times the other's, and worse
if it is more than 1.05 times. The verdict is

- **bad** if the model is not better than the trivial predictor (mean field, persistence), in total
  or for one of its outputs, if a prediction is not finite, or if the training diverged;
- **a warning** if it is worse than another predictor, at a later step worse than the trivial one or
  than a prediction of zero, undertrained, overfitted, or trained for one epoch;
- **good** otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fields.report.results import Remark, Verdict, format_number

# Errors that differ by less than this share count as equal.
EQUAL = 0.05

# Names as they are written in a sentence.
IN_A_SENTENCE = {"mean field": "the mean field", "nearest neighbor": "the nearest neighbor"}


@dataclass(frozen=True)
class Comparison:
    """The errors of the model and of another predictor on the same test samples.

    Args:
        name: of the other predictor.
        ours, theirs: mean errors; infinite where a prediction is not finite.
        trivial: whether the other is the trivial predictor.
        outputs: of every output by name the errors of both.

    Example:
        >>> Comparison("mean field", ours=0.01, theirs=1.0).describe()
        'the mean field (100 times smaller than its 1.00)'
    """

    name: str
    ours: float
    theirs: float
    trivial: bool = False
    outputs: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def better(self) -> bool:
        """Whether the model has clearly the smaller error."""
        return self.ours < (1 - EQUAL) * self.theirs

    @property
    def worse(self) -> bool:
        """Whether the model has clearly the larger error, or predictions that are not finite."""
        return math.isinf(self.ours) or self.ours > (1 + EQUAL) * self.theirs

    def describe(self) -> str:
        """Name of the other predictor, its error, and the factor to that of the model."""
        name = IN_A_SENTENCE.get(self.name, self.name)
        theirs = format_number(self.theirs)
        if not (math.isfinite(self.ours) and math.isfinite(self.theirs)):
            return f"{name} ({theirs})"
        if self.better:
            return f"{name} ({_factor(self.theirs, self.ours)} times smaller than its {theirs})"
        if self.worse:
            return f"{name} ({_factor(self.ours, self.theirs)} times its {theirs})"
        return f"{name} ({theirs})"


def judge(
    comparisons: Sequence[Comparison],
    *,
    where: str,
    not_finite: tuple[int, int],
    remarks: Sequence[Remark] = (),
) -> Verdict:
    """The verdict on a model.

    Args:
        comparisons: with the trivial predictor first.
        where: of the errors that are compared, such as "at 128 points".
        not_finite: number of test predictions that are not finite, and of all.
        remarks: on the training and on later steps, said after the comparison.

    Example:
        >>> trivial = Comparison("mean field", ours=1.98, theirs=0.99, trivial=True)
        >>> verdict = judge([trivial], where="at 64 points", not_finite=(0, 10))
        >>> verdict.level, verdict.headline
        ('bad', 'WORSE THAN the mean field (2.0 times its 0.990): relative L2 1.98 at 64 points.')
    """
    outputs = [_bad_output(one, name) for one in comparisons if one.trivial for name in one.outputs]
    every = [*filter(None, outputs), *remarks]
    failed = any(not one.better for one in comparisons if one.trivial)
    levels = {one.level for one in every}
    if failed or not_finite[0] or "bad" in levels:
        level = "bad"
    elif "warning" in levels or any(one.worse for one in comparisons):
        level = "warning"
    else:
        level = "good"
    error = next((format_number(one.ours) for one in comparisons), "not measured")
    groups = _groups(comparisons) or ["not compared with anything"]
    if not_finite[0]:
        groups = [f"{not_finite[0]} of {not_finite[1]} predictions are NOT FINITE", *groups]
    headline = f"{'; '.join(groups)}: relative L2 {error} {where}."
    return Verdict(
        level=level,
        headline=headline[:1].upper() + headline[1:],
        remarks=every,
        factors={one.name: _ratio(one) for one in comparisons},
        worse_than_trivial=failed or any(one.worse_than_trivial for one in every),
    )


def _groups(comparisons: Sequence[Comparison]) -> list[str]:
    """The other predictors by result, the worst result first."""
    trivial = [one for one in comparisons if one.trivial and not one.better and not one.worse]
    rest = [one for one in comparisons if one not in trivial]
    groups = {
        "WORSE THAN": [one for one in rest if one.worse],
        "NO BETTER THAN": trivial,
        "about as good as": [one for one in rest if not one.better and not one.worse],
        "better than": [one for one in rest if one.better],
    }
    return [
        f"{text} {_list([one.describe() for one in group])}"
        for text, group in groups.items()
        if group
    ]


def _bad_output(one: Comparison, name: str) -> Remark | None:
    """A remark if one of several outputs is not better than the trivial prediction."""
    ours, theirs = one.outputs[name]
    alone = Comparison(one.name, ours, theirs)
    if alone.better or len(one.outputs) < 2:
        return None
    text = "WORSE THAN" if alone.worse else "NO BETTER THAN"
    return Remark(
        f"output {name}: {text} {alone.describe()}, with relative L2 {format_number(ours)}",
        "bad",
        worse_than_trivial=True,
    )


def later_steps(
    steps: Sequence[int], ours: Sequence[float], trivial: Sequence[float], name: str
) -> list[Remark]:
    """Remarks on the steps after the one that is judged, where the error exceeds a trivial one.

    Args:
        steps: of the rollout.
        ours, trivial: the errors of the model and of the trivial predictor at these steps.
        name: of the trivial predictor.

    Example:
        >>> [found] = later_steps([40, 400], [0.1, 1.98], [0.9, 1.41], "persistence")
        >>> found.text
        'at step 400 WORSE THAN persistence (1.98 against 1.41)'
    """
    rows = list(zip(steps, ours, trivial, strict=True))
    worse = [row for row in rows if Comparison(name, row[1], row[2]).worse]
    large = [row for row in rows if row[1] > 1]
    if worse:
        step, error, other = worse[0]
        than = f"{name} ({format_number(error)} against {format_number(other)}"
    elif large:
        step, error, _ = large[0]
        than = f"a prediction of zero, whose error is 1 ({format_number(error)}"
    else:
        return []
    several = len(worse or large) > 1
    at = f" at step {step})" if several else ")"
    where = _steps([row[0] for row in worse or large])
    return [Remark(f"{where} WORSE THAN {than}{at}", "warning", worse_than_trivial=True)]


def _steps(chosen: Sequence[int]) -> str:
    return f"at step{'s' if len(chosen) > 1 else ''} {_list([str(step) for step in chosen])}"


def _ratio(one: Comparison) -> float:
    """Error of the model over that of the other; infinite if ours is not finite or theirs 0."""
    if math.isinf(one.ours):
        return math.inf
    if one.theirs == 0:
        return 1.0 if one.ours == 0 else math.inf
    return one.ours / one.theirs


def _factor(large: float, small: float) -> str:
    """The ratio of two errors with two or more digits."""
    if small == 0:
        return "infinitely many"
    ratio = large / small
    if ratio >= 10:
        return f"{ratio:,.0f}".replace(",", "\u202f") if ratio < 1e6 else f"{ratio:.0e}"
    return f"{ratio:.2f}" if ratio < 1.995 else f"{ratio:.1f}"


def _list(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
