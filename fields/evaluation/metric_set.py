"""The metrics of a report: those computed for every model by default, and further ones by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from fields.core.sample import Schema
from fields.metrics.base import GridMismatchError
from fields.metrics.losses import trajectory_relative_l2
from fields.metrics.relative_l2 import RelativeL2
from fields.metrics.rollout import BlowUps, Correlation, CorrelationTime
from fields.metrics.the_well import VRMSE, SpectralError

TRAJECTORY_ERROR = "trajectory relative L2"
CORRELATION_TIME = "correlation time"
BLOW_UPS = "blow-ups"


def default_metrics(schema: Schema, times: list[float]) -> dict[str, Metric]:
    """The metrics that every report has beside the relative L2 of its table.

    Args:
        schema: the problem; one that is given on a grid has spectral errors too.
        times: of the predicted steps. Maps without a time have only the VRMSE.

    Example:
        >>> schema = Schema(("x",), ("u",), ("u",), periodic=(True,), bounds=((0.0, 1.0),))
        >>> list(default_metrics(schema, [0.0]))
        ['VRMSE']
    """
    metrics: dict[str, Metric] = {"VRMSE": VRMSE()}
    if schema.dt is None:
        return metrics
    metrics["correlation"] = Correlation()
    if schema.grid is not None:
        metrics["relative spectral error"] = SpectralError(schema.grid, relative=True)
    metrics[TRAJECTORY_ERROR] = RelativeL2(trajectory_relative_l2)
    metrics[CORRELATION_TIME] = CorrelationTime(times)
    metrics[BLOW_UPS] = BlowUps()
    return metrics


class MetricSet:
    """Metrics that see the same batches of one test set.

    A metric that needs a full grid is dropped where the points are others.

    Args:
        metrics: by name; copied, so that one mapping serves all models and test sets.

    Raises:
        ValueError: a metric cannot be computed, or its value has a shape that no report shows.

    Example:
        >>> import torch
        >>> metrics = MetricSet({"VRMSE": VRMSE(), "bands": SpectralError((8,))})
        >>> v = torch.rand(5, 3, 8, 2)
        >>> metrics.update(v, v, torch.ones(1, 8) > 0)
        >>> {name: value.shape for name, value in metrics.compute().items()}["VRMSE"]
        (3,)
        >>> list(metrics.compute())[1]
        'bands, low wavenumbers'
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = {name: metric.clone() for name, metric in metrics.items()}

    def update(
        self,
        v_hat: Float[Tensor, "b s m o"],
        v: Float[Tensor, "b s m o"],
        mask: Bool[Tensor, "#b m"],
    ) -> None:
        """Add the samples of a batch."""
        for name, metric in list(self.metrics.items()):
            try:
                metric.update(v_hat, v, mask)
            except GridMismatchError:
                del self.metrics[name]
            except Exception as error:
                raise ValueError(f"The metric {name!r} cannot be computed: {error}") from error

    def compute(self) -> dict[str, Float[np.ndarray, "..."]]:
        """The values by name, each one number () or one per step (s), means over channels.

        The leading axis of values (k s o) gives k names, by the metric's attribute ``labels``.
        """
        out: dict[str, np.ndarray] = {}
        for name, metric in self.metrics.items():
            value = metric.compute().detach().cpu().double()
            if value.ndim == 3:
                labels = getattr(metric, "labels", range(1, len(value) + 1))
                parts = zip(labels, value, strict=True)
                out |= {f"{name}, {label}": part.mean(-1).numpy() for label, part in parts}
            elif value.ndim <= 2:
                out[name] = (value.mean(-1) if value.ndim == 2 else value).numpy()
            else:
                raise ValueError(
                    f"The metric {name!r} has values of shape {tuple(value.shape)}. A report shows "
                    "one number (), one per step (s), per step and channel (s o), or several of "
                    "these (k s o)."
                )
        return out
