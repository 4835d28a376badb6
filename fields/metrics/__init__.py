"""Errors of predicted fields, exactly as the benchmarks define them.

Every metric takes v_hat, v (b s m o) in physical units and a mask (#b m), keeps sums and counts
over samples in float64 (so that neither the batch size nor the number of processes changes the
answer) and computes one value per step and channel (s o); ``.mean()`` of that is the published
scalar, :func:`window` a mean over some steps. The frames a model is given are not among the targets
and hence never counted.

Names that two benchmarks share stay in their modules: ``pdebench.NRMSE`` has no ε,
``the_well.WellNRMSE`` has one.
"""

from fields.metrics import pdebench, the_well
from fields.metrics.base import MeanOverSamples
from fields.metrics.relative_l2 import RelativeL2, median_and_worst
from fields.metrics.rollout import (
    THE_WELL_WINDOWS,
    BlowUps,
    Correlation,
    correlation_time,
    window,
)

__all__ = [
    "THE_WELL_WINDOWS",
    "BlowUps",
    "Correlation",
    "MeanOverSamples",
    "RelativeL2",
    "correlation_time",
    "median_and_worst",
    "pdebench",
    "the_well",
    "window",
]
