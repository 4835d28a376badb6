"""Errors of predicted fields, exactly as the benchmarks define them.

Every metric is a torchmetrics ``Metric`` whose ``update`` takes v_hat, v (b s m o) in physical
units and a mask (#b m) that is True at real points. Sums and counts over samples are kept in
float64, so that neither the batch size nor the number of processes changes the result. Most
metrics compute one value per step and channel (s o): ``.mean()`` of it is the published scalar,
and :func:`window` is the mean over some steps. The frames that a model is given are not among the
targets and hence are never counted.

A report shows further metrics that ``report.metrics`` names in YAML; docs/extending.md has one
whole.

Two benchmarks define an NRMSE: ``pdebench.NRMSE`` divides by the root mean square of the truth,
``the_well.WellNRMSE`` adds ε = 1e-7 to its square.
"""

from fields.metrics import pdebench, the_well
from fields.metrics.base import GridMismatchError, MeanOverSamples
from fields.metrics.relative_l2 import RelativeL2, median_and_worst
from fields.metrics.rollout import (
    THE_WELL_WINDOWS,
    BlowUps,
    Correlation,
    CorrelationTime,
    correlation_time,
    window,
)

__all__ = [
    "THE_WELL_WINDOWS",
    "BlowUps",
    "Correlation",
    "CorrelationTime",
    "GridMismatchError",
    "MeanOverSamples",
    "RelativeL2",
    "correlation_time",
    "median_and_worst",
    "pdebench",
    "the_well",
    "window",
]
