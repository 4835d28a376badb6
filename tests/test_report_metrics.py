"""A metric that a user adds by YAML is shown in every part of the report, with its true value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import travelling, waves
from torch import Tensor
from torchmetrics import Metric

import fields
from fields.baselines.trivial import Persistence
from fields.data.datamodule import FieldDataModule
from fields.data.normalizer import Normalizer
from fields.evaluation.metric_set import BLOW_UPS, CORRELATION_TIME, TRAJECTORY_ERROR, MetricSet
from fields.metrics import pdebench
from fields.metrics.the_well import SpectralError
from fields.report.rollout import RolloutReport
from fields.report.static import StaticReport
from fields.training.run import train

ROOT = Path(__file__).parents[1]


def section_of_the_page() -> dict[str, str]:
    """The blocks of "A metric in the report", by the file name in their first line."""
    page = (ROOT / "docs" / "extending.md").read_text()
    section = page.split("## A metric in the report")[1].split("\n## ")[0]
    blocks = re.findall(r"```(?:python|yaml)\n(# (\S+)\n.*?)```", section, re.DOTALL)
    return {name: text for text, name in blocks}


def gradient_error(model: fields.models.base.Operator, path: Path) -> float:
    """The metric of the page by NumPy, over the test split."""
    ds = fields.open_dataset(path)
    data = FieldDataModule(str(path))
    data.setup()
    [rows] = data.tests.values()
    errors = []
    for i in range(len(rows)):
        sample = fields.core.sample.collate([rows[i]])
        with torch.no_grad():
            v_hat = model(sample)[0, 0, :, 0].double().numpy()
        v = sample.v[0, 0, :, 0].double().numpy()
        slopes = [np.gradient(np.pad(f, 1, mode="wrap"))[1:-1] for f in (v_hat - v, v)]
        errors.append(np.linalg.norm(slopes[0]) / np.linalg.norm(slopes[1]))
    assert ds.sizes["x"] == 128
    return float(np.mean(errors))


def test_the_metric_of_the_page_is_shown_everywhere(tmp_path, monkeypatch, capsys):
    """The example runs verbatim: one file and YAML, no other edit."""
    blocks = section_of_the_page()
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    fields.write_dataset(waves(24, (128,), (True,)), tmp_path / "waves.h5")
    train(
        [
            f"--config={ROOT / 'configs' / 'burgers.yaml'}",
            f"--config={tmp_path / 'mine.yaml'}",
            f"--data.path={tmp_path / 'waves.h5'}",
            "--data.stride=1",
            "--data.test_strides=[1,2]",
            "--data.batch_size=6",
            "--model.dim=32",
            "--trainer.max_epochs=1",
            "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu",
            "--run.baseline=false",
            f"--run.folder={tmp_path}",
            "--run.name=r",
        ]
    )
    model = fields.load(tmp_path / "r" / "model.safetensors")
    expected = gradient_error(model, tmp_path / "waves.h5")
    report = json.loads((tmp_path / "r" / "report.json").read_text())["metrics"]
    card = {score["test"]: score["metrics"] for score in model.card["scores"][:2]}
    assert report["field, 128"]["relative H1"] == pytest.approx(expected, rel=1e-4)
    assert card["128"]["relative H1"] == report["field, 128"]["relative H1"]
    assert report["mean field, 128"]["relative H1"] > 0
    for shown in (report["field, 64"], card["64"]):  # the page's metric is for a grid of 128
        assert shown.keys() == {"VRMSE"}
    page, said = (tmp_path / "r" / "report.html").read_text(), capsys.readouterr().out
    assert '<th scope="col">relative H1</th>' in page and "relative H1" in said
    number = fields.report.format_number(expected)
    assert f"<td>{number}</td>" in page and number in said


class LastStep(Metric):
    """Mean of the prediction at the last step: one number per rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("last", [], dist_reduce_fx="cat")

    def update(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> None:
        self.last.append(v_hat[:, -1].mean((1, 2)))

    def compute(self) -> Tensor:
        return torch.cat(self.last).mean()


class Failing(Metric):
    def update(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> None:
        raise TypeError("expects an even number of points")

    def compute(self) -> Tensor:
        return torch.zeros(())


@pytest.fixture
def rolled(tmp_path):
    """Data of an evolution problem, tested on all points and on every second one."""
    for name, frames, seed in (("train", 18, 0), ("test", 31, 1)):
        ds = travelling(12, frames, seed=seed)
        split = np.repeat([0, 1], [10, 2]) if name == "train" else np.full(12, 2)
        fields.write_dataset(ds.assign_coords(split=("sample", split)), tmp_path / f"{name}.h5")
    data = FieldDataModule(
        str(tmp_path / "train.h5"),
        test_paths=[str(tmp_path / "test.h5")],
        test_strides=[1, 2],
        horizon=4,
    )
    data.setup()
    return data


def test_metrics_of_rollouts_are_shown_per_step_or_for_the_whole(rolled):
    builder = RolloutReport(rolled, metrics={"RMSE": pdebench.RMSE(), "last": LastStep()})
    model = Persistence(
        schema=rolled.schema, normalizer=Normalizer(rolled.schema, rolled.statistics)
    )
    builder.add("still", model, seconds=1.0, seed=3)
    values = builder.metric_values()
    for test, r in (("16", builder.measured[0]), ("8", builder.other_tests["still"]["8"])):
        assert {"RMSE", "VRMSE", "correlation"} <= values[f"still, {test}, step 4"].keys()
        assert values[f"still, {test}, step 8"]["RMSE"] == r.metrics["RMSE"][7]
        whole = values[f"still, {test}, all 30 steps"]
        assert whole.keys() == {TRAJECTORY_ERROR, CORRELATION_TIME, BLOW_UPS, "last"}
    error = torch.cat([model(batch) - batch.v for batch in builder.batches[0]]).double()
    expected = error.square().mean(2).sqrt().mean((0, 2))
    np.testing.assert_allclose(builder.measured[0].metrics["RMSE"], expected, rtol=1e-6)
    card, *_ = builder.scores()
    assert card["metrics"]["RMSE"].keys() == {str(step) for step in builder.steps}
    assert card["metrics"]["last"] == values["still, 16, all 30 steps"]["last"]
    assert builder.protocol("")["seeds"] == {"split and order": rolled.seed, "still": 3}


def test_spectral_errors_are_those_of_the_first_grid_only(rolled):
    builder = RolloutReport(rolled, metrics={"bands": SpectralError((8,))})
    model = Persistence(
        schema=rolled.schema, normalizer=Normalizer(rolled.schema, rolled.statistics)
    )
    builder.add("still", model)
    default, added = "relative spectral error, low wavenumbers", "bands, low wavenumbers"
    values = builder.metric_values()
    assert default in values["still, 16, step 4"] and added not in values["still, 16, step 4"]
    assert added in values["still, 8, step 4"] and default not in values["still, 8, step 4"]


def test_a_wrong_metric_is_refused_before_the_training(rolled, tmp_path):
    with pytest.raises(ValueError, match="'odd' cannot be computed: expects an even number"):
        RolloutReport(rolled, metrics={"odd": Failing()})
    with pytest.raises(ValueError, match="'bands' needs a full grid that no test set has"):
        RolloutReport(rolled, metrics={"bands": SpectralError((9,))})
    fields.write_dataset(waves(24, (16,), (True,)), tmp_path / "waves.h5")
    data = FieldDataModule(str(tmp_path / "waves.h5"))
    data.setup()
    with pytest.raises(ValueError, match="'odd' cannot be computed"):
        StaticReport(data, metrics={"odd": Failing()})


def test_a_value_of_another_shape_is_refused():
    class Everything(pdebench.RMSE):
        def values(self, v_hat: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            return (v_hat - v)[:, None, None]

    metrics = MetricSet({"all": Everything()})
    metrics.update(torch.ones(2, 3, 4, 1), torch.ones(2, 3, 4, 1), torch.ones(1, 4) > 0)
    with pytest.raises(ValueError, match=r"'all' has values of shape \(1, 1, 3, 4, 1\)"):
        metrics.compute()


def test_metrics_are_copied_for_every_model(rolled):
    shared = pdebench.RMSE()
    metrics = MetricSet({"RMSE": shared})
    metrics.update(torch.ones(2, 3, 4, 1), torch.zeros(2, 3, 4, 1), torch.ones(1, 4) > 0)
    assert shared.count == 0 and metrics.metrics["RMSE"].count == 2
