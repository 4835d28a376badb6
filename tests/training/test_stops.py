"""A training stops at numbers that are not finite, and at settings that cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import waves

import fields
import train
from fields.data.datamodule import FieldDataModule
from fields.encoders.windowed_moments import WindowedMoments
from fields.training import run as run_module
from fields.training.divergence import DivergedError
from fields.training.fit import fit
from fields.training.task import FieldTraining

QUICK = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
BURGERS = str(Path(__file__).parents[2] / "configs" / "burgers.yaml")


class Spoiled(FieldTraining):
    """Multiplies the loss by `factor` from one step on, in training or in validation."""

    def __init__(self, step: int, *, factor: float = float("nan"), epoch: int | None = None):
        def encoder(dim, schema):
            return WindowedMoments(dim, schema, tokens=(4,))

        super().__init__(dim=16, encoder=encoder, queries=8)
        self.step = step
        self.factor = factor
        self.spoiled_epoch = epoch

    def loss(self, batch, random):
        value = super().loss(batch, random)
        return value * self.factor if self.global_step >= self.step else value

    def validation_step(self, batch, index):
        if self.current_epoch == self.spoiled_epoch and not self.trainer.sanity_checking:
            batch = batch._replace(v=batch.v * float("nan"))
        super().validation_step(batch, index)


def fitted(task: FieldTraining, folder: Path) -> FieldTraining:
    fields.write_dataset(waves(24, (16,), (True,)), folder / "waves.h5")
    torch.manual_seed(0)
    data = FieldDataModule(str(folder / "waves.h5"), batch_size=5)  # four steps an epoch
    fit(task, data, folder / "run", max_epochs=4, **QUICK)
    return task


def weights_are_finite(task: FieldTraining) -> bool:
    return all(v.isfinite().all() for v in task.state_dict().values())


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_stops_with_the_best_weights(tmp_path):
    task = Spoiled(step=6)
    with pytest.raises(DivergedError, match="step 7, in epoch 2, because the loss is not") as stop:
        fitted(task, tmp_path)
    assert stop.value.kept and weights_are_finite(task)
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(v, best[f"average.{k}"]) for k, v in task.model.state_dict().items())
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0 and all(v.isfinite().all() for v in last["state_dict"].values())
    assert [np.isfinite(row["loss"]) for row in task.history] == [True, False]


@pytest.mark.filterwarnings("ignore")
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    class Kinked(Spoiled):
        def loss(self, batch, random):
            value = super().loss(batch, random)
            return value + (value * 0).sqrt()  # its value is 0, its slope 0/0

    task = Kinked(step=10**9)
    with pytest.raises(DivergedError, match="step 1, in epoch 1, because the gradient") as stop:
        fitted(task, tmp_path)
    assert not stop.value.kept and weights_are_finite(task)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("epoch", "kept"), [(0, False), (2, True)])
def test_a_validation_error_that_is_not_finite_is_never_the_best(epoch, kept, tmp_path):
    task = Spoiled(step=10**9, epoch=epoch)
    with pytest.raises(DivergedError, match=f"stopped after epoch {epoch + 1}") as stop:
        fitted(task, tmp_path)
    assert stop.value.kept is kept and weights_are_finite(task)
    assert (tmp_path / "run" / "last.ckpt").exists() is kept


def words(folder: Path, *more: str) -> list[str]:
    fields.write_dataset(waves(24, (16,), (True,)), folder / "waves.h5")
    return [
        "--config", BURGERS, f"--data.path={folder / 'waves.h5'}", f"--run.folder={folder}",
        "--run.name=r", "--data.stride=1", "--data.test_strides=[1]", "--model.dim=16",
        "--model.encoder.init_args.tokens=[4]", "--data.batch_size=6", "--trainer.max_epochs=2",
        "--trainer.enable_progress_bar=false", "--run.baseline=false", *more,
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_diverges_exits_with_its_own_status(tmp_path, capsys):
    optimizer = "--model.optimizer.class_path=torch.optim.SGD"
    with pytest.raises(SystemExit) as stop:
        train.main(words(tmp_path, optimizer, "--model.optimizer.init_args.lr=1e6"))
    assert stop.value.code == 3
    said = capsys.readouterr()
    assert "lower learning rate" in said.err and "next:" not in said.out
    assert not (tmp_path / "r" / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_diverges_late_keeps_its_best_model(tmp_path, capsys, monkeypatch):
    def late(self, batch, random):
        value = plain(self, batch, random)
        return value * float("nan") if self.current_epoch else value

    plain = FieldTraining.loss
    monkeypatch.setattr(FieldTraining, "loss", late)
    with pytest.raises(SystemExit) as stop:
        train.main(words(tmp_path))
    assert stop.value.code == 3
    assert "because the loss is not finite" in capsys.readouterr().err
    model = fields.load(tmp_path / "r" / "model.safetensors")
    assert all(v.isfinite().all() for v in model.state_dict().values())
    assert json.loads((tmp_path / "r" / "report.json").read_text())["rows"]


@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_run_reports_on_its_best_epoch(tmp_path, capsys, monkeypatch):
    def late(self, batch, random):
        if self.current_epoch:
            raise KeyboardInterrupt
        return plain(self, batch, random)

    plain = FieldTraining.loss
    monkeypatch.setattr(FieldTraining, "loss", late)
    with pytest.raises(SystemExit) as stop:
        train.main(words(tmp_path))
    assert stop.value.code == 130
    said = capsys.readouterr().out
    assert "interrupted in epoch 2" in said and "--resume" in said
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert "interrupted in epoch 2" in json.dumps(report["verdict"])
    assert fields.load(tmp_path / "r" / "model.safetensors").schema.outputs == ("u",)


@pytest.mark.filterwarnings("ignore")
def test_a_missing_baseline_is_said_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_module, "find_spec", lambda name: None)
    train.main(words(tmp_path, "--run.baseline=true"))
    said = capsys.readouterr().out
    assert said.index("No baseline in this report") < said.index("Trained")
    assert "bracketfields[baselines]" in said
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert "No baseline" in json.dumps(report["verdict"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("--model.queries=0", "model.queries"),
        ("--model.queries=-3", "model.queries"),
        ("--model.seconds=0", "model.seconds"),
        ("--model.seconds=-1", "model.seconds"),
        ("--model.warmup=-0.1", "model.warmup"),
        ("--model.warmup=1.5", "model.warmup"),
        ("--model.dim=0", "model.dim"),
        ("--model.dim=18", "dim 18"),
        ("--model.encoder.init_args.tokens=[0]", "tokens"),
        ("--model.processor.init_args.heads=0", "heads"),
        ("--model.weights={q: 2.0}", "'q'"),
        ("--model.optimizer.init_args.lr=-1", "-1"),
        ("--model.optimizer.init_args.lr=nan", "nan"),
        ("--model.optimizer.init_args.lr=0", "learning rate"),
        ("--trainer.max_epochs=0", "trainer.max_epochs"),
        ("--trainer.max_steps=0", "trainer.max_steps"),
        ("--trainer.limit_train_batches=0", "limit_train_batches"),
        ("--trainer.limit_val_batches=0", "limit_val_batches"),
        ("--trainer.accelerator=abacus", "abacus"),
        ("--trainer.accelerator=tpu", "trainer"),
        ("--run.name=", "run.name"),
        ("--run.name=..", "run.name"),
        ("--run.name=../elsewhere", "run.name"),
        ("--run.name=/tmp", "run.name"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_training(setting, said, tmp_path):
    with pytest.raises(SystemExit) as stop:
        train.main(words(tmp_path, setting))
    assert said in str(stop.value.code) and len(str(stop.value.code)) < 500
    assert not list(tmp_path.rglob("*.ckpt")) and not list(tmp_path.rglob("*.safetensors"))


def test_warmup_may_be_the_whole_run_or_none(tmp_path):
    for warmup in (0.0, 1.0):
        task = FieldTraining(warmup=warmup)
        task.progress = lambda: 1.0
        assert np.isfinite(task.lr_factor())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no configuration"),
        (b"", "is empty"),
        (b"a: [1,\n b: {", "line 2"),
        (b"- 1\n- 2", "list"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"base: bad.yaml", "its own base"),
    ],
    ids=["missing", "empty", "broken", "list", "binary", "loop"],
)
def test_configurations_that_cannot_be_read_are_named(content, said, tmp_path):
    file = tmp_path / "bad.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit, match=said) as stop:
        train.main(["--config", str(file)])
    assert "bad.yaml" in str(stop.value.code)


def test_a_folder_is_not_a_configuration(tmp_path):
    with pytest.raises(SystemExit, match="is a folder"):
        train.main(["--config", str(tmp_path)])
