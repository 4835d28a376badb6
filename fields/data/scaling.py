r"""How the values of one variable are brought to order one: a map chosen per variable, fitted to the training split.

        û = (ℓ(u) − mean)/std

A scaling says which ℓ, mean and std; :class:`~fields.data.normalizer.Normalizer` applies them and
stores them with the model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, final

REACH = 1e-3  # of a logarithm: values below this share of the smallest one in training count as it


class AffineMap(NamedTuple):
    """A fitted scaling: numbers that a checkpoint stores.

    Args:
        mean, std: of ℓ(u).
        floor: ℓ is log(max(u, floor)) if this is positive, the identity if it is 0.
        by: the parameter on which mean and std depend, if they do.
        groups: (value of the parameter, mean, std), by increasing value.
    """

    mean: float
    std: float
    floor: float = 0.0
    by: str = ""
    groups: tuple[tuple[float, float, float], ...] = ()


class Scaling(ABC):
    """A kind of map; ``by`` names the parameter whose values split the statistics, if any."""

    by: str = ""

    @abstractmethod
    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map for a variable of these statistics."""


@final
class Standard(Scaling):
    """Mean 0 and standard deviation 1 over the training split; the default."""

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """From mean and standard deviation."""
        return AffineMap(statistics.mean, nonzero_scale(statistics.std))


@final
class MinMax(Scaling):
    """The smallest training value becomes −1, the largest 1."""

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """From the extremes."""
        low, high = statistics.low, statistics.high
        return AffineMap((low + high) / 2, nonzero_scale((high - low) / 2))


@final
class Log(Scaling):
    """Mean 0 and standard deviation 1 of the logarithm: for positive values over decades, such as viscosities."""

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """From mean and standard deviation of the logarithm; refuses values that have none."""
        if not statistics.low > 0:
            raise ValueError(
                f"{name!r} has the value {statistics.low:g}, which has no logarithm. Use `Standard` or `MinMax`."
            )
        return AffineMap(
            statistics.log_mean, nonzero_scale(statistics.log_std), floor=REACH * statistics.low
        )


@final
class PerParameter(Scaling):
    """Mean 0 and standard deviation 1 among the samples that share a value of a parameter, linear in between.

    For sets whose fields grow with a constant of the PDE: Darcy flow under the force β has
    pressures proportional to β.

    Args:
        by: name of the parameter.
    """

    def __init__(self, by: str):
        self.by = by

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """From mean and standard deviation at each value of the parameter."""
        if not statistics.groups:
            raise ValueError(
                f"There are no statistics of {name!r} by the parameter {self.by!r}; the data have no such parameter."
            )
        groups = tuple((value, mean, nonzero_scale(std)) for value, mean, std in statistics.groups)
        return AffineMap(statistics.mean, nonzero_scale(statistics.std), by=self.by, groups=groups)


def nonzero_scale(std: float) -> float:
    """What to divide by: 1 for a variable that never varies."""
    return std if std > 0 else 1.0


class Statistics(NamedTuple):
    """Of one variable over the training split, in physical units and float64."""

    mean: float
    std: float
    low: float = math.nan
    high: float = math.nan
    log_mean: float = math.nan
    log_std: float = math.nan
    groups: tuple[
        tuple[float, float, float], ...
    ] = ()  # (value of a parameter, mean, std) by increasing value
    scaling: Scaling = Standard()
