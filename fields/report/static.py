"""The report of a static map: errors at every test resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from fields import plot
from fields.core.sample import collate
from fields.data.datamodule import FieldDataModule
from fields.evaluation.references import training_points_test
from fields.evaluation.scoring import Score, score, score_mean_field
from fields.models.base import Operator
from fields.report.builder import ReportBuilder, mean_over_outputs
from fields.report.results import Picture, Row, format_number
from fields.report.verdict import Comparison


class StaticReport(ReportBuilder):
    """Relative L2 of static maps on every test set, beside those of trivial predictors.

    These are the mean training field, and at the training resolution the nearest neighbor and a
    linear regression.

    The first model is also measured with its predictions averaged over the finite symmetries of the
    problem.

    Args:
        data: with the test sets; already set up.
        metrics: by name, shown in addition to the default ones.

    Example:
        >>> import fields, tempfile, xarray
        >>> from fields.baselines.trivial import MeanValue
        >>> from fields.data.normalizer import Normalizer
        >>> a, axis = np.random.rand(20, 8), {"bounds": (0.0, 1.0), "periodic": 1}
        >>> variables = {
        ...     "a": (("sample", "x"), a, {"role": "input"}),
        ...     "u": (("sample", "x"), 2 * a, {"role": "output"}),
        ... }
        >>> ds = xarray.Dataset(variables, {"x": ("x", np.arange(8) / 8, axis)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = fields.write_dataset(ds, f"{folder}/data.h5")
        ...     data = FieldDataModule(f"{folder}/data.h5")
        ...     data.setup()
        ...     normalizer = Normalizer(data.schema, data.statistics)
        ...     report = StaticReport(data)
        ...     report.add("mean value", MeanValue(schema=data.schema, normalizer=normalizer))
        ...     print([row.model for row in report.rows()])
        ['mean value', 'mean field', 'nearest neighbor', 'linear regression']
    """

    def __init__(
        self, data: FieldDataModule, *, metrics: Mapping[str, Metric] | None = None
    ) -> None:
        super().__init__(data, metrics=metrics)
        self.measured: list[Score] = []

    def measure(self, name: str, model: Operator) -> None:
        """Measure the model on all test sets, with and without averaging over symmetries."""
        self.measured += score(name, model, self.data, metrics=self.metrics)
        finite = [g for g in self.data.symmetries if "shift" not in g]
        if model is self.model and finite:
            self.measured += score(
                f"{name}, {2 ** len(finite)} symmetries",
                model,
                self.data,
                metrics=self.metrics,
                symmetries=finite,
            )

    @cached_property
    def mean_field(self) -> list[Score]:
        """Errors of the mean field; computed once, as it takes a pass over the training data."""
        return score_mean_field(self.data, metrics=self.metrics)

    @cached_property
    def reference_scores(self) -> list[Score]:
        """Errors of the references, at the training resolution only."""
        found = self.references
        return [
            one
            for name, model in found.models.items()
            for one in score(name, model, self.data, metrics=self.metrics, only=[found.test])
        ]

    @property
    def every(self) -> list[Score]:
        """All scores: of the models, of the mean field, of the references."""
        return [*self.measured, *self.mean_field, *self.reference_scores]

    @property
    def judged(self) -> str:
        """The test set of the verdict: at the training points, else the first one."""
        return training_points_test(self.data) or next(iter(self.data.tests))

    def comparisons(self) -> list[Comparison]:
        """The errors of all models on the judged test set, the mean field first."""
        ours = self._ours()
        others = [
            *self.mean_field,
            *self.reference_scores,
            *(s for s in self.measured if not s.model.startswith(ours.model)),
        ]
        return [
            Comparison(
                s.model,
                ours.mean,
                s.mean,
                trivial=s in self.mean_field,
                outputs={name: (ours.outputs[name], s.outputs[name]) for name in s.outputs},
            )
            for s in others
            if s.test == self.judged
        ]

    def judged_at(self) -> str:
        """The points of the judged test set."""
        return f"at {self.judged}{' points' if self.judged[:1].isdigit() else ''}"

    def not_finite(self) -> tuple[int, int]:
        """Number of predictions that are not finite on all test sets, and of all."""
        ours = [s for s in self.measured if s.model == self.measured[0].model]
        return sum(s.not_finite for s in ours), sum(s.samples for s in ours)

    def _ours(self) -> Score:
        """The score of the first model on the judged test set."""
        first = self.measured[0].model
        return next(s for s in self.measured if (s.model, s.test) == (first, self.judged))

    def rows(self) -> list[Row]:
        """See `ReportBuilder`; one row for every model and test set."""
        ours = self.measured[0].model
        return [
            Row(
                s.model,
                s.test,
                s.mean,
                s.median,
                s.worst,
                s.parameters,
                self._training_seconds(s),
                ours=s.model.startswith(ours),
                outputs=s.outputs,
                not_finite=s.not_finite,
            )
            for s in self.every
        ]

    def metric_values(self) -> dict[str, dict[str, float]]:
        """See `ReportBuilder`; one entry for every model and test set."""
        return {f"{s.model}, {s.test}": s.metrics for s in self.every}

    def scores(self) -> list[dict[str, Any]]:
        """The scores of all models, the mean field and the references, one per test set."""
        return [asdict(one) for one in self.every]

    def summary(self) -> str:
        """The mean error at the training resolution, and its ratio to that of the baseline."""
        first = self.measured[0]
        baselines = [
            s for s in self.measured if not s.model.startswith(first.model) and s.test == first.test
        ]
        ratio = (
            f", {first.mean / baselines[0].mean:.2f} times the {baselines[0].mean:.4f} of "
            f"{baselines[0].model}"
            if baselines and math.isfinite(first.mean) and math.isfinite(baselines[0].mean)
            else ""
        )
        return f"Mean relative L2 at {first.test} points: {format_number(first.mean)}{ratio}."

    @property
    def error_name(self) -> str:
        """The error that the figures show, in words."""
        return f"relative L2 of each test sample{mean_over_outputs(self.schema)}"

    def pictures(self) -> list[Picture]:
        """The median and the worst sample, and the error against the resolution."""
        out = [self._samples_picture(o) for o in range(len(self.schema.outputs))]
        if self.schema.grid is not None and len(self.data.tests) > 1:
            out.append(self._resolution_picture(self.schema.grid[0]))
        return out

    def _samples_picture(self, output: int) -> Picture:
        """The median and the worst sample of one output."""
        first = self.measured[0]
        drawn = plot.sample_figure(
            [
                self._predicted("median", first.median_index, output),
                self._predicted("worst", first.worst_index, output),
            ]
        )
        name = self.schema.outputs[output]
        several = len(self.schema.outputs) > 1
        caption = (
            f"The test samples of median and of largest relative L2, at {first.test} points: "
            f"input, truth, prediction and error{f' of {name}' if several else ''}."
        )
        return Picture(f"samples {name}" if several else "samples", caption, plot.png(drawn))

    def _resolution_picture(self, trained_at: int) -> Picture:
        lines: dict[str, list[tuple[int, float]]] = {}
        for s in self.every:
            lines.setdefault(s.model, []).append((int(s.test.split("x")[0]), s.mean))
        curves = {
            name: plot.Curve(*map(np.array, zip(*sorted(points), strict=True)))
            for name, points in lines.items()
        }
        drawn = plot.png(plot.resolution_figure(curves, trained_at=trained_at))
        caption = (
            "Mean relative L2 against the number of points per axis. The models were trained only "
            "at the marked resolution."
        )
        return Picture("resolution", caption, drawn)

    def _training_seconds(self, s: Score) -> float | None:
        return next(
            (seconds for name, seconds in self.seconds.items() if s.model.startswith(name)), None
        )

    def _predicted(self, which: str, index: int, output: int) -> plot.PredictedSample:
        assert self.model is not None, "a model is added before"
        sample = self.data.tests[self.measured[0].test][index]
        with torch.no_grad():
            v_hat = self.model(collate([sample]))[0]
        return plot.PredictedSample.from_sample(
            sample, v_hat.numpy(), self.schema, title=f"{which} test sample", channel=output
        )
