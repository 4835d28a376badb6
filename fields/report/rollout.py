"""The report of an evolution problem: errors and invariants far past the training horizon."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from fields import plot
from fields.baselines.trivial import Persistence
from fields.core.sample import Sample, collate
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.evaluation.rollouts import Quantity, Rollouts, measure_rollouts, report_steps
from fields.metrics.relative_l2 import median_and_worst
from fields.models.base import Operator
from fields.report.builder import ReportBuilder, mean_over_outputs
from fields.report.prediction_bands import ALPHA, PredictionBands, calibrate_bands
from fields.report.results import Picture, Remark, Row, format_number
from fields.report.rollout_pictures import (
    animation_picture,
    band_picture,
    error_picture,
    quantity_picture,
    trajectory_picture,
)
from fields.report.verdict import Comparison, later_steps

PERSISTENCE = "persistence"


class RolloutReport(ReportBuilder):
    """Relative L2 of every model at multiples of the training horizon, beside trivial predictors.

    Persistence predicts that nothing changes. Where the points are those of the training, a linear
    regression of one step is applied repeatedly. The first test set is shown with pictures and
    quantities; of the others (the same trajectories on fewer points) only errors and metrics.

    Args:
        data: with test trajectories as long as the rollouts shall be; already set up.
        metrics: by name, shown in addition to the default ones.
        quantities: invariants and Lyapunov functions of the problem by name.

    Example:
        >>> import fields, tempfile, xarray
        >>> x, t = np.arange(8) / 8, np.arange(12) / 10
        >>> u = np.sin(2 * np.pi * (x - t[:, None] + np.random.rand(20, 1, 1)))
        >>> axis = {"bounds": (0.0, 1.0), "periodic": 1}
        >>> state = (("sample", "time", "x"), u, {"role": "state"})
        >>> ds = xarray.Dataset({"u": state}, {"time": ("time", t), "x": ("x", x, axis)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = fields.write_dataset(ds, f"{folder}/data.h5")
        ...     data = FieldDataModule(f"{folder}/data.h5", horizon=2)
        ...     data.setup()
        ...     normalizer = Normalizer(data.schema, data.statistics)
        ...     report = RolloutReport(data)
        ...     report.add("constant", Persistence(schema=data.schema, normalizer=normalizer))
        ...     print([row.resolution for row in report.rows() if row.model == "constant"])
        ['step 2', 'step 4', 'step 8']
    """

    def __init__(
        self,
        data: FieldDataModule,
        *,
        metrics: Mapping[str, Metric] | None = None,
        quantities: Mapping[str, Quantity] | None = None,
    ) -> None:
        super().__init__(data, metrics=metrics)
        self.quantities = quantities or {}
        self.measured: list[Rollouts] = []
        self.other_tests: dict[str, dict[str, Rollouts]] = {}
        self.bands: PredictionBands | None = None

    @cached_property
    def batches(self) -> list[list[Sample]]:
        """The trajectories of every test set."""
        return [list(loader) for loader in self.data.test_dataloader()]

    @cached_property
    def persistence(self) -> Rollouts:
        """Errors of the prediction that nothing changes."""
        model = Persistence(
            schema=self.schema, normalizer=Normalizer(self.schema, self.data.statistics)
        )
        return measure_rollouts(
            PERSISTENCE,
            model,
            self.batches[0],
            metrics=self.metrics,
            quantities=self.quantities,
            quiet=True,
        )

    @cached_property
    def reference_rollouts(self) -> list[Rollouts]:
        """Errors of the references, if the first test set has the points of the training."""
        found = self.references
        if found.test != next(iter(self.data.tests)):
            return []
        return [
            measure_rollouts(
                name,
                model,
                self.batches[0],
                metrics=self.metrics,
                quantities=self.quantities,
                quiet=True,
            )
            for name, model in found.models.items()
        ]

    @property
    def every(self) -> list[Rollouts]:
        """The rollouts on the first test set: of the models, persistence, the references."""
        return [*self.measured, self.persistence, *self.reference_rollouts]

    def comparisons(self) -> list[Comparison]:
        """The errors of all models at the training horizon, persistence first."""
        ours, *others = self.measured
        step = self.steps[0]
        return [
            Comparison(
                r.model,
                float(ours.at(step).mean()),
                float(r.at(step).mean()),
                trivial=r is self.persistence,
                outputs={
                    name: (
                        float(ours.outputs[name][:, step - 1].mean()),
                        float(r.outputs[name][:, step - 1].mean()),
                    )
                    for name in r.outputs
                },
            )
            for r in (self.persistence, *self.reference_rollouts, *others)
        ]

    def judged_at(self) -> str:
        """The first step that the table shows."""
        return f"at step {self.steps[0]} (training horizon)"

    def not_finite(self) -> tuple[int, int]:
        """Number of trajectories that are not finite at some step of the first test set, of all."""
        error = self.measured[0].error
        return int(np.isinf(error).any(1).sum()), len(error)

    def later(self) -> list[Remark]:
        """Remarks on later steps, against persistence and a prediction of zero."""
        ours, trivial = (
            [float(r.at(step).mean()) for step in self.steps[1:]]
            for r in (self.measured[0], self.persistence)
        )
        return later_steps(self.steps[1:], ours, trivial, PERSISTENCE)

    def measure(self, name: str, model: Operator) -> None:
        """Measure the rollouts of the model on all test sets."""
        first, *others = self.batches
        self.measured.append(
            measure_rollouts(name, model, first, metrics=self.metrics, quantities=self.quantities)
        )
        self.other_tests[name] = {
            test: measure_rollouts(name, model, batches, metrics=self.metrics, quiet=True)
            for test, batches in zip(list(self.data.tests)[1:], others, strict=True)
        }
        if model is self.model:
            self.bands = calibrate_bands(model, self.data.val_dataloader(), first)

    def rows(self) -> list[Row]:
        """See `ReportBuilder`; one row for every model, test set and step."""
        return [
            Row(
                r.model,
                f"{test}step {step}",
                float(r.at(step).mean()),
                float(np.median(r.at(step))),
                float(r.at(step).max()),
                r.parameters,
                self.seconds.get(r.model),
                ours=r.model == self.measured[0].model,
                outputs={
                    name: float(error[:, step - 1].mean()) for name, error in r.outputs.items()
                },
                not_finite=r.not_finite(step),
            )
            for test, r in self._all_tests()
            for step in self.steps
        ]

    def metric_values(self) -> dict[str, dict[str, float]]:
        """See `ReportBuilder`; entries for every model, test set and step, and for all steps.

        The error of a quantity Q is mean |Q(v̂) − Q(v)| / Q₀.
        """
        out: dict[str, dict[str, float]] = {}
        for test, r in self._all_tests():
            errors = {f"error of {name}": r.drift(name) for name in r.quantities}
            per_step = {key: v for key, v in r.metrics.items() if v.ndim == 1} | errors
            for step in self.steps:
                out[f"{r.model}, {test}step {step}"] = {
                    key: float(value[step - 1]) for key, value in per_step.items()
                }
        for test, r in self._all_tests():
            out[f"{r.model}, {test}all {len(r.times)} steps"] = {
                key: float(value) for key, value in r.metrics.items() if value.ndim == 0
            }
        return {key: values for key, values in (out | self._band_values()).items() if values}

    def scores(self) -> list[dict[str, Any]]:
        """The scores of all models, at steps inside and beyond the training horizon."""
        return [
            {
                "model": r.model,
                "parameters": r.parameters,
                "samples": len(r.error),
                "error": self._at_steps(r.error.mean(0)),
                "outputs": {
                    name: self._at_steps(error.mean(0)) for name, error in r.outputs.items()
                },
                "not_finite": {str(step): r.not_finite(step) for step in self.steps},
                "elsewhere": {
                    test: self._at_steps(other.error.mean(0))
                    for test, other in self.other_tests.get(r.model, {}).items()
                },
                "metrics": {
                    name: self._at_steps(value) if value.ndim else float(value)
                    for name, value in r.metrics.items()
                },
                "drift": {name: self._at_steps(r.drift(name)) for name in r.quantities},
            }
            for r in self.every
        ]

    def summary(self) -> str:
        """The mean errors at the training horizon and at the last step that is shown."""
        ours = self.measured[0]
        first = self.steps[0]
        last = self.steps[-1]
        near = ours.at(first).mean()
        far = ours.at(last).mean()
        return (
            f"Mean relative L2: {format_number(near)} at step {first} (training horizon), "
            f"{format_number(far)} at step {last}."
        )

    @property
    def error_name(self) -> str:
        """The error that the figures show, in words."""
        return f"relative L2 of each predicted step{mean_over_outputs(self.schema)}"

    def pictures(self) -> list[Picture]:
        """Errors and quantities in time, and the trajectory of median error in several pictures."""
        first_steps = self.measured[0].error[:, : 4 * self.horizon].mean(1)
        median, _ = median_and_worst(torch.from_numpy(first_steps))
        names = self.measured[0].quantities
        time = plot.label("time", self.schema.units)
        out = [
            error_picture(self.every, self.horizon_time, time),
            *(quantity_picture(name, self.measured, self.horizon_time, time) for name in names),
        ]
        for o, sample in enumerate(self._predicted(median)):
            output = f" {self.schema.outputs[o]}" if len(self.schema.outputs) > 1 else ""
            shown = sample.first_steps(4 * self.horizon)
            out.append(trajectory_picture(shown, self.horizon, output))
            if self.bands is not None:
                step = min(4 * self.horizon, len(self.bands.width))
                out.append(band_picture(sample, self.bands, step, o, output))
            out.append(animation_picture(shown, output))
        return out

    @property
    def horizon(self) -> int:
        """Steps of a training window."""
        return self.data.train.horizon

    @property
    def horizon_time(self) -> float:
        """Time of the last step of a training window."""
        return float(self.measured[0].times[self.horizon - 1])

    @property
    def steps(self) -> list[int]:
        """Steps that the tables show."""
        return report_steps(self.horizon, self.batches[0][0].v.shape[1])

    def _all_tests(self) -> list[tuple[str, Rollouts]]:
        """The rollouts of all models on all test sets, each with the name of its test set.

        With a single test set the name is left out.
        """
        names = [f"{test}, " if len(self.data.tests) > 1 else "" for test in self.data.tests]
        return [
            (name, r)
            for one in self.every
            for name, r in zip(
                names, (one, *self.other_tests.get(one.model, {}).values()), strict=False
            )
        ]

    def _at_steps(self, values: np.ndarray) -> dict[str, float]:
        return {str(step): float(values[step - 1]) for step in self.steps}

    def _band_values(self) -> dict[str, dict[str, float]]:
        """Half-width and coverage of the bands of the first model, per step and output."""
        bands = self.bands
        if bands is None:
            return {}
        name = f"{self.measured[0].model}, {1 - ALPHA:.0%} band"
        inside = f"share of {bands.test_samples} test trajectories inside"
        return {
            f"{name}, {output}, step {step}": {
                "half-width": float(bands.width[step - 1, o]),
                inside: float(bands.coverage[step - 1, o]),
            }
            for step in self.steps
            if step <= len(bands.width)
            for o, output in enumerate(self.schema.outputs)
        }

    def _predicted(self, index: int) -> list[plot.PredictedSample]:
        """A trajectory and its prediction, one entry per output."""
        assert self.model is not None, "a model is added before"
        sample = next(iter(self.data.tests.values()))[index]
        with torch.no_grad():
            v_hat = self.model.evaluate(collate([sample]), 1e9)[0].numpy()
        return [
            plot.PredictedSample.from_sample(
                sample, v_hat, self.schema, title="median test trajectory", channel=o
            )
            for o in range(len(self.schema.outputs))
        ]
