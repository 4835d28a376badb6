"""From trained models to a report: what is the same for maps and for evolution problems."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from fields import plot
from fields.core.sample import Sample
from fields.data.datamodule import FieldDataModule
from fields.evaluation.verify import Certificate, certify
from fields.models.base import Operator
from fields.models.evolution import EvolutionOperator
from fields.models.static import FieldOperator
from fields.report.limitations import limitations
from fields.report.results import Picture, Results, Row
from fields.training.task import Training

AXES = {"x": "epoch", "y": "val_error"}

CERTIFIED, PASSES = (
    8,
    100,
)  # test samples whose codes are rolled to certify the law, and how far at least


class ReportBuilder(ABC):
    """Collects the scores of models trained on the same data, ours first, and makes a report of them.

    Args:
        data: with the test sets.
    """

    def __init__(self, data: FieldDataModule):
        assert data.schema is not None, "set up before"
        self.data, self.schema = data, data.schema
        self.ours: Operator | None = None
        self.histories: dict[str, list[dict[str, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.seeds: dict[str, int] = {}
        self.certificate: Certificate | None = None

    def add(self, name: str, task: Training) -> None:
        """Measures a trained model; the first one is ours."""
        assert task.model is not None, "fitted before"
        if self.ours is None:
            self.ours, self.certificate = task.model, self._certified(task.model)
        self.histories[name], self.seconds[name], self.seeds[name] = (
            task.history,
            task.elapsed,
            task.seed,
        )
        self.measure(name, task.model)

    @abstractmethod
    def measure(self, name: str, model: Operator) -> None:
        """Scores one model on the test sets."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """The table."""

    @abstractmethod
    def scores(self) -> list[dict[str, Any]]:
        """All numbers, as plain values for the card of the checkpoint."""

    @abstractmethod
    def pictures(self) -> list[Picture]:
        """What there is to see besides the losses."""

    @abstractmethod
    def wording(self) -> dict[str, Any]:
        """The summary, the name of the error, other metrics: keywords of `Results`."""

    def protocol(self, command: str, tested: int) -> dict[str, Any]:
        """What is needed to judge the numbers."""
        data = self.data
        return {
            "data": data.path,
            "test_files": list(data.test_paths),
            "recipe": data.source.attrs.get("protocol", ""),
            "split": f"{len(data.train)} train, {len(data.val)} validation, {tested} test",
            "seconds": self.seconds,
            "seeds": {"split and order": data.seed, **self.seeds},
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "selection": "best validation error; the test split is used once",
            "command": command,
        }

    def card(self, command: str) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        tested = len(next(iter(self.data.tests.values())))
        return {
            "protocol": self.protocol(command, tested),
            "scores": self.scores(),
            "symmetries": self.data.symmetries,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "limits": limitations(self.data),
        }

    def results(self, *, title: str, problem: str, command: str, next_command: str) -> Results:
        """The report."""
        worded = self.wording()
        tested = len(next(iter(self.data.tests.values())))
        return Results(
            title=title,
            problem=problem,
            rows=self.rows(),
            protocol=self.protocol(command, tested),
            command=command,
            histories=self.columns(),
            pictures=[*self.pictures(), *self._losses()],
            next_command=next_command,
            **{**worded, "summary": f"{worded['summary']}{self._law()}"},
        )

    def _certified(self, model: Operator) -> Certificate | None:
        """The energy law of ours on codes of test samples, past the horizon; None where no law is claimed."""
        if not isinstance(model, FieldOperator | EvolutionOperator):
            return None
        batch: Sample = next(iter(self.data.test_dataloader()[0]))
        some = Sample(*(part[:CERTIFIED] for part in batch))
        found = certify(model, some, steps=max(batch.v.shape[1], PASSES))
        return found if found.findings else None

    def _law(self) -> str:
        if self.certificate is None:
            return ""
        found = self.certificate
        violations = ", ".join(f"{f.violation:.1e} in {f.dtype}" for f in found.findings)
        off = f"off by at most {violations} in {found.steps} steps"
        return f" Law of the latent code, {found.law} ({found.reach}): {found.verdict}; {off}."

    def columns(self) -> dict[str, dict[str, list[float]]]:
        """The curve of each model's training, and beside it whatever else was logged at every epoch."""
        out = {}
        for name, log in self.histories.items():
            others = {key: key for key in (log[0] if log else ()) if key not in AXES.values()}
            out[name] = {key: [row[of] for row in log] for key, of in (AXES | others).items()}
        return out

    def _losses(self) -> list[Picture]:
        curves = {
            f"{name}, {which}": plot.Curve(
                np.array([h["seconds"] for h in log]), np.array([h[key] for h in log])
            )
            for name, log in self.histories.items()
            for which, key in (("training", "loss"), ("validation", "val_error"))
            if log
        }
        drawn = plot.loss_figure(curves, x_label="training time (s)") if curves else None
        return [] if drawn is None else [Picture("losses", "Losses in wall time.", plot.png(drawn))]
