r"""The map that brings the values of a variable to order one, chosen per variable.

        û = (ℓ(u) − mean)/std

A :class:`Scaling` says which ℓ, mean and std; :class:`~fields.data.normalizer.Normalizer` applies
them and stores them with the model. How the statistics come about: `fields.data.statistics`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, final

# `Log` replaces values below this share of the smallest training value by that floor.
LOG_FLOOR = 1e-3


class AffineMap(NamedTuple):
    r"""A fitted scaling of one variable: the numbers that a checkpoint stores.

        û = (ℓ(u) − mean)/std,    ℓ(u) = log(max(u, floor)) if floor > 0, else u

    Args:
        mean, std: of ℓ(u).
        floor: positive for the logarithm, 0 for the identity.
        by: the parameter on which mean and std depend, if they do.
        groups: (value of the parameter, mean, std), by increasing value.

    Example:
        >>> AffineMap(mean=3.0, std=2.0)[:3]
        (3.0, 2.0, 0.0)
    """

    mean: float
    std: float
    floor: float = 0.0
    by: str = ""
    groups: tuple[tuple[float, float, float], ...] = ()


class Scaling(ABC):
    """A kind of map: `fit` turns the statistics of a variable into an `AffineMap`.

    A scaling is named in a configuration by its class path (``data.scalings``). ``by`` names the
    parameter by whose values the statistics are grouped, if they are.

    Example:
        >>> class Halved(Scaling):
        ...     def fit(self, name, statistics):
        ...         return AffineMap(mean=0.0, std=2.0)
        >>> Halved().fit("u", Statistics(mean=3.0, std=5.0)).std
        2.0
    """

    by: str = ""

    @abstractmethod
    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map for the variable ``name`` with these statistics.

        Raises:
            ValueError: the variable cannot be scaled in this way.
        """


@final
class Standard(Scaling):
    r"""Mean 0 and standard deviation 1 over the training samples; the default.

        û = (u − mean)/std

    Example:
        >>> Standard().fit("u", Statistics(mean=3.0, std=2.0))[:2]
        (3.0, 2.0)
    """

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map with the mean and the standard deviation of the variable."""
        return AffineMap(statistics.mean, nonzero_scale(statistics.std))


@final
class MinMax(Scaling):
    r"""The smallest training value becomes −1 and the largest 1.

        û = (u − (low + high)/2) / ((high − low)/2)

    Example:
        >>> MinMax().fit("u", Statistics(mean=0.0, std=1.0, low=2.0, high=6.0))[:2]
        (4.0, 2.0)
    """

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map with the midpoint and half the range of the variable."""
        middle = (statistics.low + statistics.high) / 2
        return AffineMap(middle, nonzero_scale((statistics.high - statistics.low) / 2))


@final
class Log(Scaling):
    r"""Mean 0 and standard deviation 1 of the logarithm, for positive values over decades.

        û = (log max(u, floor) − mean)/std,    floor = 1e-3 · low

    Example:
        >>> viscosity = Statistics(mean=0.1, std=0.1, low=0.01, log_mean=-3.0, log_std=1.5)
        >>> Log().fit("nu", viscosity)[:3]
        (-3.0, 1.5, 1e-05)
    """

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map with mean and standard deviation of the logarithm.

        Raises:
            ValueError: a training value is 0 or negative.
        """
        if not statistics.low > 0:
            raise ValueError(
                f"{name!r} has the value {statistics.low:g}, which has no logarithm. "
                "Use `Standard` or `MinMax`."
            )
        return AffineMap(
            statistics.log_mean,
            nonzero_scale(statistics.log_std),
            floor=LOG_FLOOR * statistics.low,
        )


@final
class PerParameter(Scaling):
    r"""Mean 0 and standard deviation 1 among the samples that share a value of a parameter.

        û = (u − mean(p))/std(p),    linear in p between the values that occur, constant beyond

    For data whose fields grow with a constant of the PDE: pressures in Darcy flow are proportional
    to the force β.

    Args:
        by: name of the parameter p.

    Example:
        >>> groups = ((0.01, 0.0, 0.02), (1.0, 0.0, 2.0))
        >>> PerParameter("beta").fit("u", Statistics(mean=0.0, std=1.0, groups=groups)).groups[1]
        (1.0, 0.0, 2.0)
    """

    def __init__(self, by: str):
        self.by = by

    def fit(self, name: str, statistics: Statistics) -> AffineMap:
        """The map with mean and standard deviation at each value of the parameter.

        Raises:
            ValueError: the statistics were not grouped by a parameter.
        """
        if not statistics.groups:
            raise ValueError(
                f"There are no statistics of {name!r} by the parameter {self.by!r}. Compute them "
                "with `dataset_statistics` from data that have this parameter."
            )
        groups = tuple((value, mean, nonzero_scale(std)) for value, mean, std in statistics.groups)
        return AffineMap(statistics.mean, nonzero_scale(statistics.std), by=self.by, groups=groups)


def nonzero_scale(std: float) -> float:
    """What to divide by: ``std``, or 1 for a variable that never varies.

    Example:
        >>> nonzero_scale(0.0)
        1.0
    """
    return std if std > 0 else 1.0


class Statistics(NamedTuple):
    """Statistics of one variable over the training samples, in physical units and float64.

    Args:
        mean, std, low, high: of the values.
        log_mean, log_std: of their logarithm, if the scaling needs them.
        groups: (value of the parameter, mean, std) by increasing value, if the scaling groups the
            samples by a parameter.
        scaling: which map is fitted to them.

    Example:
        >>> statistics = Statistics(mean=3.0, std=2.0)
        >>> statistics.scaling.fit("u", statistics).mean
        3.0
    """

    mean: float
    std: float
    low: float = math.nan
    high: float = math.nan
    log_mean: float = math.nan
    log_std: float = math.nan
    groups: tuple[tuple[float, float, float], ...] = ()
    scaling: Scaling = Standard()
