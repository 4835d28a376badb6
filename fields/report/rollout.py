"""The report of an evolution problem: errors, correlation and invariants far past the trained horizon."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fields import plot
from fields.baselines.trivial import Persistence
from fields.core.sample import collate
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.evaluation.rollouts import Quantity, Rollouts, measure_rollouts, report_steps
from fields.metrics.relative_l2 import median_and_worst
from fields.models.base import Operator
from fields.report.builder import ReportBuilder
from fields.report.prediction_bands import ALPHA, PredictionBands, calibrate_bands
from fields.report.results import Picture, Row


class RolloutReport(ReportBuilder):
    """Errors per step of every model, beside persistence (nothing changes).

    Args:
        data: with test trajectories as long as they are to be rolled out. The first test is shown
            in full, of the others (the same trajectories given on fewer points) the errors alone.
        quantities: invariants and Lyapunov functions of the problem.
    """

    def __init__(self, data: FieldDataModule, *, quantities: Mapping[str, Quantity] | None = None):
        super().__init__(data)
        self.batches, *others = (list(loader) for loader in data.test_dataloader())
        self.others = dict(zip(list(data.tests)[1:], others, strict=True))
        self.elsewhere: dict[str, dict[str, Rollouts]] = {}
        self.quantities = quantities or {}
        self.measured: list[Rollouts] = []
        self.still: Rollouts
        self.bands: PredictionBands | None = None

    def measure(self, name: str, model: Operator) -> None:
        """See `ReportBuilder`."""
        if not self.measured:
            still = Persistence(
                schema=self.schema, normalizer=Normalizer(self.schema, self.data.statistics)
            )
            self.still = measure_rollouts(
                "persistence", still, self.batches, quantities=self.quantities, quiet=True
            )
        self.measured.append(
            measure_rollouts(name, model, self.batches, quantities=self.quantities)
        )
        self.elsewhere[name] = {
            test: measure_rollouts(name, model, batches, quiet=True)
            for test, batches in self.others.items()
        }
        if model is self.ours:
            self.bands = calibrate_bands(model, self.data.val_dataloader(), self.batches)

    def rows(self) -> list[Row]:
        """See `ReportBuilder`; a row for every resolution and step."""
        first = next(iter(self.data.tests))
        return [
            Row(
                r.model,
                f"step {step}" if not self.others else f"{test}, step {step}",
                float(r.at(step).mean()),
                float(np.median(r.at(step))),
                float(r.at(step).max()),
                r.parameters,
                self.seconds.get(r.model),
                ours=r.model == self.measured[0].model,
            )
            for one in (*self.measured, self.still)
            for test, r in {first: one, **self.elsewhere.get(one.model, {})}.items()
            for step in self.shown
        ]

    def scores(self) -> list[dict[str, Any]]:
        """See `ReportBuilder`."""
        return [
            {
                "model": r.model,
                "parameters": r.parameters,
                "samples": len(r.error),
                "error": self._errors(r),
                "elsewhere": {
                    test: self._errors(other)
                    for test, other in self.elsewhere.get(r.model, {}).items()
                },
                "whole": float(r.whole.mean()),
                "correlated": r.correlated(),
                "blown": r.blown,
                "drift": {
                    name: {str(step): float(r.drift(name)[step - 1]) for step in self.shown}
                    for name in r.quantities
                },
            }
            for r in (*self.measured, self.still)
        ]

    def wording(self) -> dict[str, Any]:
        """Errors at the trained horizon and far beyond; correlation time, drifts and blow-ups as further metrics."""
        ours, first, last = self.measured[0], self.shown[0], self.shown[-1]
        metrics: dict[str, float] = {}
        for r in (*self.measured, self.still):
            metrics[f"{r.model}: time until correlation falls below 0.8"] = r.correlated()
            metrics[f"{r.model}: trajectories blown up, of {len(r.error)}"] = float(r.blown)
            metrics[f"{r.model}: relative L2 of the whole trajectory"] = float(r.whole.mean())
            metrics[f"{r.model}: VRMSE at step {first}"] = float(r.vrmse[first - 1])
            for name in r.quantities:
                metrics[f"{r.model}: |{name} − truth's| at step {last}, relative"] = float(
                    r.drift(name)[last - 1]
                )
            if r.spectrum is not None:
                for band, value in zip(
                    ("low", "middle", "high"), r.spectrum[:, first - 1], strict=True
                ):
                    metrics[
                        f"{r.model}: relative error energy at step {first}, {band} wavenumbers"
                    ] = float(value)
        if self.bands is not None:
            said = (
                f"{1 - ALPHA:.0%} band of {self.bands.calibration_samples} validation trajectories"
            )
            for step in (s for s in self.shown if s <= len(self.bands.width)):
                for o, output in enumerate(self.schema.outputs):
                    at = f"{ours.model}: {said}, {output} at step {step}"
                    metrics[f"{at}, half-width"] = float(self.bands.width[step - 1, o])
                    metrics[
                        f"{at}, share of {self.bands.test_samples} test trajectories inside"
                    ] = float(self.bands.coverage[step - 1, o])
        near, far = ours.at(first).mean(), ours.at(last).mean()
        summary = (
            f"Mean relative L2 {near:.4f} at step {first} (trained), {far:.3g} at step {last}."
        )
        error_name = "relative L2 of the step, channels jointly; given frames not counted"
        return {"summary": summary, "error_name": error_name, "metrics": metrics}

    def pictures(self) -> list[Picture]:
        """Errors and invariants in time, the median trajectory as a space-time picture or frames, and moving."""
        median, _ = median_and_worst(
            torch.from_numpy(self.measured[0].error[:, : 4 * self.trained].mean(1))
        )
        case, trained_to = self._case(median), float(self.measured[0].times[self.trained - 1])
        error = {
            r.model: plot.Curve(r.times, r.error.mean(0)) for r in (*self.measured, self.still)
        }
        drawn = plot.time_figure(
            error, trained_to=trained_to, y_label="mean relative L2 of the step"
        )
        out = [Picture("error", "Error of each step, given frames not counted.", plot.png(drawn))]
        for name in self.measured[0].quantities:
            curves = {"truth": plot.Curve(self.still.times, self.still.quantities[name][1].mean(0))}
            curves |= {
                r.model: plot.Curve(r.times, r.quantities[name][0].mean(0)) for r in self.measured
            }
            y_label = f"{name} of the field, relative"
            drawn = plot.time_figure(curves, trained_to=trained_to, y_label=y_label, log=False)
            out.append(
                Picture(
                    name,
                    f"{name.capitalize()} of the decoded fields, mean over test trajectories.",
                    plot.png(drawn),
                )
            )
        shown = case.first_steps(4 * self.trained)
        if self.schema.dim == 1:
            drawn = plot.space_time_figure(shown, trained_to=trained_to)
        else:
            steps = {0, self.trained - 1, 2 * self.trained - 1, len(shown.t) - 1}
            drawn = plot.frames_figure(shown, sorted(step for step in steps if step < len(shown.t)))
        out.append(
            Picture(
                "trajectory",
                "Median test trajectory up to four times the trained horizon.",
                plot.png(drawn),
            )
        )
        if self.bands is not None:
            step = min(4 * self.trained, len(self.bands.width))
            promise = (
                f"Prediction of step {step} with the band that holds the whole field of {1 - ALPHA:.0%} of new trajectories, from "
                f"the errors of {self.bands.calibration_samples} validation trajectories (which also chose the weights); of the "
                f"{self.bands.test_samples} test trajectories {float(self.bands.coverage[step - 1, 0]):.0%} stay inside."
            )
            drawn = plot.band_figure(case, step - 1, float(self.bands.width[step - 1, 0]))
            out.append(Picture("band", promise, plot.png(drawn)))
        with tempfile.TemporaryDirectory() as folder:
            film = plot.animate(shown, Path(folder) / "film.gif").read_bytes()
        return [*out, Picture("film", "The same, moving.", film, kind="gif")]

    @property
    def trained(self) -> int:
        """Steps of a training window."""
        return self.data.train.horizon

    @property
    def shown(self) -> list[int]:
        """Steps of the table."""
        return report_steps(self.trained, self.batches[0].v.shape[1])

    def _errors(self, r: Rollouts) -> dict[str, float]:
        return {str(step): float(r.at(step).mean()) for step in self.shown}

    def _case(self, index: int) -> plot.PredictedSample:
        assert self.ours is not None
        sample = next(iter(self.data.tests.values()))[index]
        with torch.no_grad():
            v_hat = self.ours.evaluate(collate([sample]), 1e9)[0]
        return plot.PredictedSample.from_sample(
            sample, v_hat.numpy(), self.schema, title="median test trajectory"
        )
