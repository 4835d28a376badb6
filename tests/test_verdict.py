"""A report leads with a verdict, and a bad result looks bad wherever it is shown."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import travelling, waves
from rich.console import Console
from torch import Tensor

import fields
from fields import plot, report
from fields.checkpoints.model_cards import render_model_card
from fields.core.sample import Sample
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.evaluation.references import fit_references, training_points_test
from fields.evaluation.scoring import score, score_mean_field
from fields.models.base import Operator
from fields.report.builder import ReportBuilder
from fields.report.results import Verdict
from fields.report.rollout import RolloutReport
from fields.report.static import StaticReport
from fields.report.training_state import training_remarks
from fields.report.verdict import Comparison, judge, later_steps


class Scaled(Operator):
    """The truth times (1 + off), per output; NaN where the first input value exceeds a limit."""

    def __init__(self, *, schema, normalizer, off=(0.01,), limit: float = math.inf):
        super().__init__(schema=schema, normalizer=normalizer)
        self.off = torch.tensor(off)
        self.limit = limit

    def forward(self, batch: Sample) -> Tensor:
        v = batch.v * (1 + self.off)
        v[batch.u[:, 0, 0] > self.limit] = torch.nan
        return v


def static_data(folder, **options) -> FieldDataModule:
    fields.write_dataset(waves(60, (16,), (True,)), folder / "waves.h5")
    data = FieldDataModule(str(folder / "waves.h5"), validation=0.2, test=0.3, **options)
    data.setup()
    return data


def moving_data(folder, units: float = 1.0, **options) -> FieldDataModule:
    """Two outputs, u and w, of which w may be given in other units."""
    ds = travelling(30, 18)
    fields.write_dataset(ds.assign(w=(units * ds.w).assign_attrs(ds.w.attrs)), folder / "t.h5")
    data = FieldDataModule(str(folder / "t.h5"), horizon=2, validation=0.2, test=0.3, **options)
    data.setup()
    return data


def reported(data: FieldDataModule, history=(), **options) -> ReportBuilder:
    kind = StaticReport if data.schema.dt is None else RolloutReport
    builder = kind(data)
    normalizer = Normalizer(data.schema, data.statistics)
    model = Scaled(schema=data.schema, normalizer=normalizer, **options)
    builder.add("field", model, history=history)
    return builder


def rendered(builder: ReportBuilder, width: int = 100) -> tuple[str, str, dict]:
    """Terminal, page and JSON."""
    results = builder.results(title="t", problem="p", command="c", next_command="predict")
    stream = io.StringIO()
    report.print_table(results, Console(file=stream, width=width, force_terminal=True))
    return stream.getvalue(), report.render_html(results), json.loads(report.to_json(results))


def plain(text: str) -> str:
    """Without colors and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def test_factors_are_those_of_the_errors_on_the_same_samples(tmp_path):
    data = static_data(tmp_path)
    builder = reported(data)
    verdict = builder.verdict()
    assert verdict.level == "good" and verdict.headline.startswith("Better than the mean field")
    [mean] = score_mean_field(data)
    [nearest] = score(
        "n", fit_references(data).models["nearest neighbor"], data, only=[next(iter(data.tests))]
    )
    assert verdict.factors["mean field"] == pytest.approx(0.01 / mean.mean, rel=1e-3)
    assert verdict.factors["nearest neighbor"] == pytest.approx(0.01 / nearest.mean, rel=1e-3)
    assert verdict.factors.keys() == {"mean field", "nearest neighbor", "linear regression"}
    rows = {row.model: row.mean for row in builder.rows()}
    assert rows["nearest neighbor"] == nearest.mean


def test_a_bad_verdict_is_red_and_stands_first_everywhere(tmp_path):
    builder = reported(static_data(tmp_path), off=(200.0,))
    terminal, page, values = rendered(builder)
    assert builder.verdict().level == "bad"
    assert "\x1b[1;31mVerdict: WORSE THAN the mean field" in terminal
    assert terminal.index("WORSE THAN") < terminal.index("parameters")
    body = page[page.index("<body>") :]
    block = re.search(r'<div class="verdict bad">\s*<p>WORSE THAN the mean field', body)
    assert block and block.start() < body.index("<h2>")
    assert values["verdict"]["level"] == "bad"
    assert values["verdict"]["factors"]["mean field"] > 1
    card = builder.card("c")
    assert next(iter(card)) == "verdict" and card["verdict"]["level"] == "bad"


@pytest.mark.parametrize(("off", "said"), [(200.0, True), (0.01, False)])
def test_a_law_never_stands_beside_a_useless_prediction_without_saying_so(tmp_path, off, said):
    builder = reported(static_data(tmp_path), off=(off,))
    builder.certificate = SimpleNamespace(
        law="dE/dt = 0", reach="the latent code", verdict="holds", steps=100, findings=()
    )
    terminal, page, values = rendered(builder)
    assert "holds" in values["summary"]
    for text in (values["summary"], plain(terminal), page):
        assert ("The law does not make the prediction accurate" in text) == said
    assert page.index('class="verdict') < page.index("dE/dt") < len(page)
    assert terminal.index("Verdict") < terminal.index("dE/dt")


def test_every_output_is_shown_with_its_own_error(tmp_path):
    builder = reported(moving_data(tmp_path), off=(0.01, 0.3))
    terminal, page, values = rendered(builder)
    row = values["rows"][0]
    assert row["outputs"] == pytest.approx({"u": 0.01, "w": 0.3}, rel=1e-3)
    assert row["mean"] == pytest.approx(0.155, rel=1e-3)
    for shown in ("0.0100", "0.300"):
        assert shown in terminal and f"<td>{shown}</td>" in page
    names = {picture["name"] for picture in values["pictures"]}
    wanted = {f"{kind} {name}" for kind in ("trajectory", "animation") for name in "uw"}
    assert wanted <= names
    first = builder.card("c")["scores"][0]
    assert first["outputs"]["w"]["2"] == pytest.approx(0.3, rel=1e-3)
    text = render_model_card(
        {"card": builder.card("c"), "schema": data_schema(builder), "model": MODEL}, "t", "s"
    )
    assert "| field | step 2, output w | 0.3 |" in text
    assert text.index("etter than") < text.index("## Test errors")


MODEL = {"class_path": "fields.baselines.fno.FNO", "init_args": {}}


def data_schema(builder: ReportBuilder) -> dict:
    return builder.schema.to_dict()


def test_an_output_that_was_not_learned_makes_the_verdict_bad(tmp_path):
    builder = reported(moving_data(tmp_path), off=(0.0001, 1.9))
    verdict = builder.verdict()
    assert verdict.level == "bad"
    [remark] = [found for found in verdict.remarks if found.text.startswith("output w")]
    assert "WORSE THAN persistence" in remark.text and "1.90" in remark.text


def test_errors_do_not_depend_on_the_units_of_an_output(tmp_path):
    errors = []
    for i, units in enumerate((1.0, 1e5)):
        (tmp_path / str(i)).mkdir()
        builder = reported(moving_data(tmp_path / str(i), units), off=(0.01, 0.3))
        # Rollouts of the regression amplify rounding errors; its first step does not.
        errors.append(
            [
                (row.model, row.mean, row.outputs)
                for row in builder.rows()
                if row.model != "linear regression" or row.resolution == "step 2"
            ]
        )
    for one, other in zip(*errors, strict=True):
        near = {"rel": 0.1 if one[0] == "linear regression" else 1e-4}
        assert one[1] == pytest.approx(other[1], **near)
        assert one[2] == pytest.approx(other[2], **near)


def test_static_pictures_show_every_output(tmp_path):
    ds = waves(40, (8,), (True,))
    ds["b"] = (2 * ds.u).assign_attrs(ds.u.attrs)
    fields.write_dataset(ds, tmp_path / "d.h5")
    data = FieldDataModule(str(tmp_path / "d.h5"), validation=0.2, test=0.2)
    data.setup()
    pictures = reported(data, off=(0.1, 0.2)).pictures()
    assert {picture.name for picture in pictures} == {"samples u", "samples b"}
    assert pictures[0].data != pictures[1].data


def test_predictions_that_are_not_finite_are_counted_and_never_sort_first(tmp_path):
    data = static_data(tmp_path)
    u = torch.stack([data.tests["16"][i].u[0, 0] for i in range(len(data.tests["16"]))])
    limit = float(u.sort().values[-4])  # three of the 18 samples are above
    builder = reported(data, limit=limit)
    first = builder.measured[0]
    assert first.not_finite == 3 and first.mean == first.worst == math.inf
    assert first.median == pytest.approx(0.01, rel=1e-3)
    ordered = sorted(builder.every, key=lambda one: one.mean)
    assert [one.model for one in ordered][-1].startswith("field")
    terminal, page, values = rendered(builder)
    assert "3 of 18 predictions are NOT FINITE" in plain(terminal)
    assert "not finite (3)" in terminal and "<td>not finite (3)</td>" in page
    assert "nan" not in terminal.lower() and ">nan<" not in page.lower()
    assert values["rows"][0]["not_finite"] == 3 and values["rows"][0]["mean"] is None
    card = builder.card("c")
    json.dumps(card, allow_nan=False)
    header = {"card": card, "schema": data_schema(builder), "model": MODEL}
    assert "| field | 16 | not finite |" in render_model_card(header, "t", "s")


def test_rollouts_that_are_not_finite_are_counted_and_drawn(tmp_path):
    data = moving_data(tmp_path)
    builder = reported(data, off=(0.01, 0.01), limit=-2.0)  # none is finite
    terminal, _, values = rendered(builder)
    count = len(builder.batches[0][0].u)
    assert f"{count} of {count} predictions are NOT FINITE" in plain(terminal)
    assert values["rows"][0]["not_finite"] == count
    assert values["verdict"]["level"] == "bad" and values["next_command"] == ""


def rows(errors, losses=None):
    losses = errors if losses is None else losses
    return [{"loss": a, "val_error": b} for a, b in zip(losses, errors, strict=True)]


@pytest.mark.parametrize(
    ("name", "history", "level"),
    [
        ("undertrained", rows([1.0, 0.6, 0.4, 0.3]), "warning"),
        ("undertrained", rows(0.9 ** np.arange(40)), "warning"),
        ("overfitted", rows([1, 0.5, 0.4, 0.5, 0.6], [1, 0.5, 0.3, 0.2, 0.1]), "warning"),
        ("one epoch", rows([0.4]), "warning"),
        ("diverged", rows([0.4, np.nan]), "bad"),
        ("diverged", rows([0.4, 0.3, 0.4], [0.3, np.inf, 0.2]), "bad"),
        ("diverged", rows([0.4, 0.3, 5.0]), "bad"),
    ],
)
def test_trainings_are_named_by_their_losses(name, history, level, tmp_path):
    [found] = training_remarks(history)
    assert name in found.text and found.level == level
    full = [{"epoch": i, "seconds": float(i), **row} for i, row in enumerate(history)]
    builder = reported(static_data(tmp_path), history=full)
    assert builder.verdict().level == level
    terminal, page, _ = rendered(builder)
    assert name in terminal.lower() and name in page.lower()


@pytest.mark.parametrize(
    "history",
    [
        [],
        rows([1.0, 0.5, 0.41, 0.4]),  # 2 % in the last epoch
        rows(0.97 ** np.arange(40)),  # 11 % in the last tenth, as at the end of a cosine
        rows([1, 0.5, 0.4, 0.41], [1, 0.5, 0.3, 0.2]),  # rises by 2.5 %
        rows([1, 0.5, 0.4, 0.6], [1, 0.5, 0.3, 0.4]),  # rises with the training loss
    ],
)
def test_ordinary_trainings_have_no_finding(history):
    assert training_remarks(history) == []


def test_a_baseline_that_is_undertrained_is_said_without_a_bad_verdict(tmp_path):
    data = static_data(tmp_path)
    builder = reported(data)
    normalizer = Normalizer(data.schema, data.statistics)
    worse = Scaled(schema=data.schema, normalizer=normalizer, off=(0.02,))
    builder.add("FNO", worse, history=[{"epoch": 0, "seconds": 1.0, **rows([0.3])[0]}])
    verdict = builder.verdict()
    assert verdict.level == "good" and verdict.factors["FNO"] == pytest.approx(0.5, rel=1e-3)
    assert any(one.text.startswith("FNO: trained for one epoch") for one in verdict.remarks)


def test_one_epoch_is_drawn_with_markers():
    one = {"a": plot.Curve(np.array([3.0]), np.array([0.5]))}
    [line] = plot.loss_figure(one).axes[0].lines
    assert line.get_marker() == "o"
    two = {"a": plot.Curve(np.array([3.0, 4.0]), np.array([0.5, 0.4]))}
    assert plot.loss_figure(two).axes[0].lines[0].get_marker() == ""
    gap = {"a": plot.Curve(np.arange(3.0), np.array([0.5, np.inf, 0.4]))}
    assert plot.loss_figure(gap).axes[0].lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (0.94, 1.0, "better than"),
        (0.96, 1.0, "NO BETTER THAN"),
        (1.04, 1.0, "NO BETTER THAN"),
        (1.06, 1.0, "WORSE THAN"),
        (math.inf, 1.0, "WORSE THAN"),
        (math.inf, math.inf, "WORSE THAN"),
        (0.5, math.inf, "better than"),
        (0.0, 0.0, "NO BETTER THAN"),
        (0.1, 0.0, "WORSE THAN"),
    ],
)
def test_margins_of_the_comparison(ours, theirs, words):
    verdict = judge(
        [Comparison("mean field", ours, theirs, trivial=True)], where="", not_finite=(0, 9)
    )
    assert verdict.headline.lower().startswith(words.lower())
    assert (verdict.level == "bad") == (words != "better than")
    assert "nan" not in verdict.headline


def test_a_reference_that_is_better_warns():
    trivial = Comparison("persistence", 0.1, 1.0, trivial=True)
    verdict = judge(
        [trivial, Comparison("linear regression", 0.1, 0.01)], where="at step 4", not_finite=(0, 9)
    )
    assert verdict.level == "warning" and not verdict.worse_than_trivial
    assert verdict.headline == (
        "WORSE THAN linear regression (10 times its 0.0100); better than persistence (10 times "
        "smaller than its 1.00): relative L2 0.100 at step 4."
    )


def test_later_steps_name_where_the_error_exceeds_a_trivial_one():
    [found] = later_steps([8, 40, 400], [0.1, 2.0, 3.0], [0.9, 1.4, 1.4], "persistence")
    assert found.text == (
        "at steps 40 and 400 WORSE THAN persistence (2.00 against 1.40 at step 40)"
    )
    [found] = later_steps([8, 40], [0.1, 1.2], [0.9, 1.4], "persistence")
    assert found.text == "at step 40 WORSE THAN a prediction of zero, whose error is 1 (1.20)"
    assert found.worse_than_trivial
    assert later_steps([8, 40], [0.1, 0.9], [0.9, 1.4], "persistence") == []


def test_references_are_left_out_with_the_reason(tmp_path):
    coarse = static_data(tmp_path, test_strides=(2,))
    assert training_points_test(coarse) is None
    note = fit_references(coarse).note
    assert "no test set has the points of the training" in note
    builder = reported(coarse)
    assert note.rstrip(".") in plain(rendered(builder, width=200)[0])
    assert builder.verdict().factors.keys() == {"mean field"}
    sensors = static_data(tmp_path, sensors=5)
    assert "the samples have different points" in fit_references(sensors).note
    single = static_data(tmp_path, samples=1)
    assert "a single training sample" in fit_references(single).note


def test_references_are_compared_at_the_training_points_of_several_tests(tmp_path):
    data = static_data(tmp_path, test_strides=(2, 1))
    builder = reported(data)
    assert builder.judged == "16" and builder.verdict().headline.endswith("at 16 points.")
    tested = {(row.model, row.resolution) for row in builder.rows()}
    assert ("linear regression", "16") in tested and ("linear regression", "8") not in tested


def test_large_data_are_subsampled(tmp_path, monkeypatch):
    data = static_data(tmp_path)
    monkeypatch.setattr("fields.evaluation.references.SAMPLES", 10)
    found = fit_references(data)
    assert found.note.endswith(f"fitted to 10 of {len(data.train)} training samples.")
    assert len(found.models["nearest neighbor"].given) == 10
    monkeypatch.setattr("fields.evaluation.references.BYTES", 5 * 4 * 2 * 16)
    assert len(fit_references(data).models["nearest neighbor"].given) == 5


def test_a_long_report_repeats_the_verdict_at_its_end():
    rows = [report.Row("field", str(i), 0.1, 0.1, 0.1) for i in range(30)]
    results = report.Results("t", "", rows, {}, "", verdict=Verdict("bad", "WORSE THAN all."))
    for shown, times in ((results, 2), (replace(results, rows=rows[:3]), 1)):
        stream = io.StringIO()
        report.print_table(shown, Console(file=stream, width=80))
        assert stream.getvalue().count("Verdict: WORSE THAN all.") == times
