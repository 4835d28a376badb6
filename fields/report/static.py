"""The report of a static map: errors at every test resolution."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fields import plot
from fields.core.sample import collate
from fields.data.datamodule import FieldDataModule
from fields.evaluation.scoring import Score, score, score_mean_field
from fields.models.base import Operator
from fields.report.builder import ReportBuilder
from fields.report.results import Picture, Row


class StaticReport(ReportBuilder):
    """Relative L2 of maps, ours also averaged over the problem's finite symmetries, beside the mean field."""

    def __init__(self, data: FieldDataModule):
        super().__init__(data)
        self.measured: list[Score] = []

    def measure(self, name: str, model: Operator) -> None:
        """See `ReportBuilder`."""
        self.measured += score(name, model, self.data)
        finite = [g for g in self.data.symmetries if "shift" not in g]
        if model is self.ours and finite:
            self.measured += score(
                f"{name}, {2 ** len(finite)} symmetries", model, self.data, symmetries=finite
            )

    @cached_property
    def trivial(self) -> list[Score]:
        """The mean field, which takes a pass over the training data: measured once, for table, card and picture."""
        return score_mean_field(self.data)

    def rows(self) -> list[Row]:
        """See `ReportBuilder`."""
        ours = self.measured[0].model
        return [
            Row(
                s.model,
                s.test,
                s.mean,
                s.median,
                s.worst,
                s.parameters,
                self._trained(s),
                ours=s.model.startswith(ours),
            )
            for s in (*self.measured, *self.trivial)
        ]

    def scores(self) -> list[dict[str, Any]]:
        """See `ReportBuilder`."""
        return [asdict(one) for one in (*self.measured, *self.trivial)]

    def wording(self) -> dict[str, Any]:
        """Ours against the baseline at the training resolution."""
        first = self.measured[0]
        peers = [
            s for s in self.measured if not s.model.startswith(first.model) and s.test == first.test
        ]
        beside = (
            f": {first.mean / peers[0].mean:.2f} times {peers[0].model}'s {peers[0].mean:.4f}"
            if peers
            else ""
        )
        summary = f"Mean relative L2 {first.mean:.4f} at {first.test} points{beside}."
        return {"summary": summary, "error_name": "relative L2 of each test sample"}

    def pictures(self) -> list[Picture]:
        """Median and worst sample, error against resolution."""
        first, out = self.measured[0], []
        drawn = plot.sample_figure(
            [self._case("median", first.median_index), self._case("worst", first.worst_index)]
        )
        out.append(
            Picture(
                "samples", f"Median and worst test sample at {first.test} points.", plot.png(drawn)
            )
        )
        if self.schema.grid is not None and len(self.data.tests) > 1:
            lines: dict[str, list[tuple[int, float]]] = {}
            for s in (*self.measured, *self.trivial):
                lines.setdefault(s.model, []).append((int(s.test.split("x")[0]), s.mean))
            curves = {
                n: plot.Curve(*map(np.array, zip(*sorted(points), strict=True)))
                for n, points in lines.items()
            }
            drawn = plot.png(plot.resolution_figure(curves, trained_at=self.schema.grid[0]))
            out.append(
                Picture(
                    "resolution",
                    "Mean error against resolution; trained at the marked one only.",
                    drawn,
                )
            )
        return out

    def _trained(self, s: Score) -> float | None:
        return next(
            (seconds for name, seconds in self.seconds.items() if s.model.startswith(name)), None
        )

    def _case(self, which: str, index: int) -> plot.PredictedSample:
        assert self.ours is not None
        sample = self.data.tests[self.measured[0].test][index]
        with torch.no_grad():
            v_hat = self.ours(collate([sample]))[0]
        return plot.PredictedSample.from_sample(
            sample, v_hat.numpy(), self.schema, title=f"{which} test sample"
        )
