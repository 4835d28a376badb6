"""From trained models to a report: what static maps and evolution problems have in common."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from fields import plot
from fields.core.sample import Sample, Schema, collate
from fields.data.datamodule import FieldDataModule
from fields.evaluation.metric_set import MetricSet
from fields.evaluation.references import References, fit_references
from fields.evaluation.verify import Certificate, certify
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.static import FieldOperator
from fields.report.limitations import limitations
from fields.report.output import to_plain
from fields.report.results import Picture, Remark, Results, Row, Verdict
from fields.report.training_state import training_remarks
from fields.report.verdict import Comparison, judge

# Columns of the history that a report names x and y.
AXES = {"x": "epoch", "y": "val_error"}

# The law of the latent code is verified for this many test samples over at least this many steps.
CERTIFIED_SAMPLES = 8
CERTIFIED_STEPS = 100


def mean_over_outputs(schema: Schema) -> str:
    """What to add to the name of the error where there are several outputs."""
    return ", mean over the outputs" if len(schema.outputs) > 1 else ""


class ReportBuilder(ABC):
    """Collects the errors of models that were trained on the same data and makes a report of them.

    The first model that is added is the one that the report is about; the others are baselines.

    Args:
        data: with the test sets; already set up.
        metrics: by name, shown in addition to `fields.evaluation.metric_set.default_metrics`.

    Raises:
        ValueError: a metric cannot be computed on the test data.

    Example:
        >>> from fields.report.static import StaticReport
        >>> issubclass(StaticReport, ReportBuilder), sorted(ReportBuilder.__abstractmethods__)[:3]
        (True, ['comparisons', 'error_name', 'judged_at'])
    """

    def __init__(
        self, data: FieldDataModule, *, metrics: Mapping[str, Metric] | None = None
    ) -> None:
        assert data.schema is not None, "the data module is set up before"
        self.data = data
        self.schema = data.schema
        self.metrics = dict(metrics or {})
        self.model: Operator | None = None
        self.histories: dict[str, Sequence[Mapping[str, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.seeds: dict[str, int] = {}
        self.certificate: Certificate | None = None
        self.remarks: list[str] = []  # on the run: a missing baseline, a training that was stopped
        self._try_metrics()

    def add(
        self,
        name: str,
        model: Operator,
        *,
        history: Sequence[Mapping[str, float]] = (),
        seconds: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Measure a trained model.

        Args:
            name: of the model, for tables and pictures.
            model: after its training.
            history: one row per epoch with "epoch", "seconds", "loss", "val_error" and others.
            seconds: wall time of the training.
            seed: of the initial weights.
        """
        if self.model is None:
            self.model = model
            self.certificate = self._certify(model)
        self.histories[name] = history
        if seconds is not None:
            self.seconds[name] = seconds
        if seed is not None:
            self.seeds[name] = seed
        self.measure(name, model)

    @abstractmethod
    def measure(self, name: str, model: Operator) -> None:
        """Measure the errors of one model on the test sets."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """The table of relative L2 errors."""

    @abstractmethod
    def metric_values(self) -> dict[str, dict[str, float]]:
        """The values of all other metrics by name, per model and test set or step."""

    @abstractmethod
    def scores(self) -> list[dict[str, Any]]:
        """All numbers as plain values, for the card of the checkpoint."""

    @abstractmethod
    def comparisons(self) -> list[Comparison]:
        """The errors of the first model and of all others at the training resolution or horizon.

        The trivial predictor comes first, then the references, then trained baselines.
        """

    @abstractmethod
    def judged_at(self) -> str:
        """Where the errors of `comparisons` are measured, such as "at 128 points"."""

    @abstractmethod
    def not_finite(self) -> tuple[int, int]:
        """Number of predictions of the first model that are not finite, and of all."""

    def later(self) -> list[Remark]:
        """Remarks on steps after the one that is judged; none for static maps."""
        return []

    @abstractmethod
    def pictures(self) -> list[Picture]:
        """The pictures, except the losses."""

    @abstractmethod
    def summary(self) -> str:
        """The most important result in one sentence."""

    @property
    @abstractmethod
    def error_name(self) -> str:
        """The error that the table shows."""

    @cached_property
    def references(self) -> References:
        """Predictors that need no training, fitted to a part of the training data."""
        return fit_references(self.data)

    def verdict(self) -> Verdict:
        """Better or worse than everything else, by how much, and what to know of the trainings."""
        remarks = self.later()
        for name, history in self.histories.items():
            mine = name == next(iter(self.histories))
            for found in training_remarks(history):
                text = found.text if mine else f"{name}: {found.text}"
                remarks.append(Remark(text, found.level if mine else "good"))
        remarks += [Remark(text, "warning") for text in self.remarks]
        if self.references.note:
            remarks.append(Remark(self.references.note))
        return judge(
            self.comparisons(),
            where=self.judged_at(),
            not_finite=self.not_finite(),
            remarks=remarks,
        )

    def protocol(self, command: str) -> dict[str, Any]:
        """Data, split, seeds, time and machine: what is needed to judge the numbers."""
        data = self.data
        tested = len(next(iter(data.tests.values())))
        return {
            "data": data.path,
            "test_files": list(data.test_paths),
            "recipe": data.source.attrs.get("protocol", ""),
            "split": f"{len(data.train)} train, {len(data.val)} validation, {tested} test",
            "seconds": self.seconds,
            "seeds": {"split and order": data.seed, **self.seeds},
            "machine": (
                f"{platform.machine()}, {torch.get_num_threads()} threads, "
                f"torch {torch.__version__}"
            ),
            "selection": "weights of the least validation error; the test split is used only once",
            "command": command,
        }

    def card(self, command: str) -> dict[str, Any]:
        """The card of a checkpoint: verdict, protocol, errors, symmetries, law and limitations."""
        card = {
            "verdict": asdict(self.verdict()),
            "protocol": self.protocol(command),
            "scores": self.scores(),
            "symmetries": self.data.symmetries,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "limits": limitations(self.data),
        }
        return to_plain(card)

    def results(self, *, title: str, problem: str, command: str, next_command: str) -> Results:
        """Everything that the report shows.

        Args:
            title: of the report.
            problem: what is given and what is predicted.
            command: reproduces the run.
            next_command: what to try next; left out where no prediction is finite.
        """
        verdict = self.verdict()
        lost, tested = self.not_finite()
        return Results(
            title=title,
            verdict=verdict,
            problem=problem,
            rows=self.rows(),
            protocol=self.protocol(command),
            command=command,
            summary=self.summary() + self._law(verdict),
            error_name=self.error_name,
            metrics=self.metric_values(),
            histories=self.columns(),
            pictures=[*self.pictures(), *self._losses()],
            next_command=next_command if lost < tested else "",
        )

    def columns(self) -> dict[str, dict[str, list[float]]]:
        """Each model's validation error "y" at epoch "x", and everything else that was logged."""
        out = {}
        for name, log in self.histories.items():
            others = {key: key for key in (log[0] if log else ()) if key not in AXES.values()}
            out[name] = {key: [row[of] for row in log] for key, of in (AXES | others).items()}
        return out

    def _try_metrics(self) -> None:
        """Compute the further metrics for the first sample of every test set, truth as prediction.

        A metric that fails is found before the training instead of after it.
        """
        computed: set[str] = set()
        for rows in self.data.tests.values() if self.metrics else ():
            sample = collate([rows[0]])
            metrics = MetricSet(self.metrics)
            metrics.update(sample.v, sample.v, sample.y_mask)
            metrics.compute()
            computed |= metrics.metrics.keys()
        for name in self.metrics.keys() - computed:
            raise ValueError(
                f"The metric {name!r} needs a full grid that no test set has; the test sets are "
                f"{', '.join(self.data.tests)}. Set its `grid` to that of a test set, or remove it."
            )

    def _certify(self, model: Operator) -> Certificate | None:
        """Verify the law of the latent code on test samples; None where no law is claimed."""
        if not isinstance(model, FieldOperator | EvolutionOperator):
            return None
        batch: Sample = next(iter(self.data.test_dataloader()[0]))
        first = Sample(*(part[:CERTIFIED_SAMPLES] for part in batch))
        found = certify(model, first, steps=CERTIFIED_STEPS, frames=batch.v.shape[1])
        return found if found.findings else None

    def _law(self, verdict: Verdict) -> str:
        """The verified law in a sentence, which says so where the prediction is useless."""
        if self.certificate is None:
            return ""
        found = self.certificate
        violations = ", ".join(f"{f.violation:.1e} in {f.dtype}" for f in found.findings)
        caveat = (
            " The law does not make the prediction accurate: the error exceeds that of a trivial "
            "predictor, see the verdict."
            if verdict.worse_than_trivial
            else ""
        )
        return (
            f" Law of the latent code, {found.law} ({found.reach}): {found.verdict}; "
            f"largest violation in {found.steps} steps: {violations}.{caveat}"
        )

    def _losses(self) -> list[Picture]:
        curves = {
            f"{name}, {which}": plot.Curve(
                np.array([row["seconds"] for row in log]), np.array([row[key] for row in log])
            )
            for name, log in self.histories.items()
            for which, key in (("training", "loss"), ("validation", "val_error"))
            if log
        }
        if not curves:
            return []
        drawn = plot.loss_figure(curves, x_label="training time (s)")
        caption = "Training loss and validation error against the wall time of the training."
        return [Picture("losses", caption, plot.png(drawn))]
