"""`train.py` from settings to report, resuming, and every configuration that is shipped."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import warnings
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
import yaml
from problems import travelling, waves

import fields
import train
from fields.data.datamodule import FieldDataModule
from fields.dynamics.base import Invariant
from fields.training.fit import fit
from fields.training.task import FieldTraining

ROOT = Path(__file__).parents[2]

QUICK = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
BASE = ROOT / "configs" / "base.yaml"
CONFIGS = sorted(set((ROOT / "configs").glob("*.yaml")) - {BASE})
IN_TIME = [
    config for config in CONFIGS if "propagator" in yaml.safe_load(config.read_text())["model"]
]
STILL = [config for config in CONFIGS if config not in IN_TIME]
FILES = sorted(
    (ROOT / "configs" / "files").glob("*.yaml")
)  # tests/training/test_files.py has those
PARTS = [
    file
    for part in ("encoder", "processor", "decoder")
    for file in sorted((ROOT / "configs" / part).glob("*.yaml"))
]


def data_file(folder: Path, dims: int = 1, samples: int = 24) -> Path:
    ds = waves(samples, (16,) * dims, (dims == 1,) * dims)
    fields.write_dataset(ds, folder / "waves.h5")
    return folder / "waves.h5"


def evolution_files(folder: Path, dims: int = 1) -> list[str]:
    """Overrides that put small trajectories in the place of a configuration's data."""
    for name, frames, seed in (("train", 18, 0), ("test", 31, 1)):
        ds = travelling(12, frames, seed=seed, dims=dims)
        split = np.repeat([0, 1], [10, 2]) if name == "train" else np.full(12, 2)
        fields.write_dataset(ds.assign_coords(split=("sample", split)), folder / f"{name}.h5")
    return [f"--data.path={folder / 'train.h5'}", f"--data.test_paths=[{folder / 'test.h5'}]"]


def task(**options) -> FieldTraining:
    from fields.encoders.windowed_moments import WindowedMoments

    return FieldTraining(
        dim=32,
        encoder=lambda dim, schema: WindowedMoments(dim, schema, tokens=(4,)),
        queries=8,
        **options,
    )


def run_overrides(folder: Path, path: Path) -> list[str]:
    return [
        f"--data.path={path}",
        "--data.test_paths=[]",
        "--data.stride=1",
        "--data.test_strides=[1]",
        "--data.batch_size=6",
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
        "--trainer.enable_progress_bar=false",
        f"--run.folder={folder}",
        "--trainer.accelerator=cpu",
    ]


def test_no_config_is_left_out():
    assert {BASE, *IN_TIME, *STILL, *PARTS, *FILES} == set((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("config", IN_TIME, ids=lambda p: p.stem)
def test_every_config_in_time_runs_two_steps(config, tmp_path):
    model = yaml.safe_load(config.read_text())["model"]
    dims = len(yaml.safe_load(config.read_text())["tokens"])
    dim = min(32, max(2, model["dim"]))  # there are two states here
    files = [*evolution_files(tmp_path, dims), f"--model.dim={dim}"]
    if "FourierSampling" in str(model["encoder"]):  # its own file has variables of other names
        channels = "[u,w]" if dim == 2 else "[u,c,w,'']"
        files += [f"--model.{part}.channels={channels}" for part in ("encoder", "decoder")]
    energy = {"LocalEnergy": "field.init_args.energy.init_args.", "flows.GradientFlow": ""}
    for name, path in energy.items():  # and there is a constant
        if name in config.read_text():
            files.append(f"--model.processor.init_args.{path}conditioned=true")
    rest = [
        word
        for word in run_overrides(tmp_path, Path("-"))
        if not word.startswith(("--data.path", "--data.test_paths"))
    ]
    train.main(["--config", str(config), *rest, *files, "--run.name=r", "--model.seconds=null"])
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {row["model"] for row in report["rows"]} == {
        "field",
        "FNO (neuraloperator)",
        "persistence",
        "linear regression",
    }
    assert {picture["name"] for picture in report["pictures"]} >= {
        "error",
        "trajectory u",
        "trajectory w",
        "animation u",
        "animation w",
    }
    out = fields.load(tmp_path / "r" / "model.safetensors").predict(
        fields.open_dataset(tmp_path / "test.h5"), times=[0.1, 2.0]
    )
    assert out.u.dims == ("sample", "time", *"xy"[:dims]) and np.isfinite(out.u).all()


@pytest.mark.parametrize("config", STILL, ids=lambda p: p.stem)
def test_every_config_runs_two_steps(config, tmp_path):
    content = yaml.safe_load(config.read_text())
    path = data_file(tmp_path, len(content["tokens"]))
    # The variables in `groups` are those of the configuration's own file.
    names = ["--model.encoder.groups=null"] if "groups" in str(content) else []
    train.main(
        [
            "--config",
            str(config),
            *run_overrides(tmp_path, path),
            *names,
            "--run.name=r",
            "--run.baseline=false",
        ]
    )
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {row["model"] for row in report["rows"]} >= {"field", "mean field"}
    assert (tmp_path / "r" / "report.html").read_text().count("<img") >= 1
    out = fields.load(tmp_path / "r" / "model.safetensors").predict(fields.open_dataset(path))
    assert np.isfinite(out.u).all()


@pytest.mark.parametrize("config", PARTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_part_config_runs_two_steps(config, tmp_path):
    path = data_file(tmp_path)
    base = [
        "--config",
        str(ROOT / "configs" / "burgers.yaml"),
        "--config",
        str(config),
        "--model.dim=32",
    ]
    train.main([*base, *run_overrides(tmp_path, path), "--run.name=r", "--run.baseline=false"])
    model = fields.load(tmp_path / "r" / "model.safetensors")
    part = config.parent.name
    wanted = yaml.safe_load(config.read_text())["model"][part]["class_path"].split(".")[-1]
    assert type(getattr(model, part)).__name__ == wanted
    said = json.loads((tmp_path / "r" / "report.json").read_text())["summary"]
    if getattr(model.processor, "law", Invariant.NONE) in (Invariant.NONE, Invariant.SYMPLECTIC):
        assert model.card["certificate"] is None
    else:  # from the first step on
        assert (
            model.card["certificate"]["verdict"] == "holds"
            and f"{model.processor.law.value} (" in said
        )


def test_baseline_trains_beside_the_field(tmp_path, capsys):
    path = data_file(tmp_path)
    train.main(
        [
            "--config",
            str(ROOT / "configs" / "burgers.yaml"),
            *run_overrides(tmp_path, path),
            "--run.name=r",
        ]
    )
    assert "FNO (neuraloperator)" in {
        row["model"] for row in json.loads((tmp_path / "r" / "report.json").read_text())["rows"]
    }
    assert "next: python -m fields predict" in capsys.readouterr().out


def test_the_process_is_left_as_it_was_found(tmp_path):
    def state() -> tuple:
        loggers = [logging.getLogger(name) for name in (None, "fields", "lightning.pytorch")]
        handlers = list(loggers[0].handlers)
        return signal.getsignal(signal.SIGTERM), handlers, [log.level for log in loggers]

    before = state()
    filters = list(warnings.filters)
    config = ["--config", str(ROOT / "configs" / "burgers.yaml"), "--run.baseline=false"]
    train.main([*config, *run_overrides(tmp_path, data_file(tmp_path))])
    assert state() == before and warnings.filters == filters
    with pytest.raises(SystemExit, match="there is no file"):
        train.main([*config, *run_overrides(tmp_path, tmp_path / "none.h5"), "--make=null"])
    assert state() == before and warnings.filters == filters


def test_trajectories_are_tested_at_every_resolution(tmp_path):
    rest = [
        word
        for word in run_overrides(tmp_path, Path("-"))
        if not word.startswith(("--data.path", "--data.test"))
    ]
    words = [
        *rest,
        *evolution_files(tmp_path),
        "--data.test_strides=[1, 2]",
        "--run.name=r",
        "--model.dim=32",
    ]
    words = [
        "--config",
        str(ROOT / "configs" / "klein_gordon.yaml"),
        *words,
        "--run.baseline=false",
        "--model.seconds=null",
    ]
    train.main(words)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    model = fields.load(tmp_path / "r" / "model.safetensors")
    assert shlex.split(model.card["protocol"]["command"]) == [
        "python",
        "train.py",
        *words,
    ]  # to be typed again
    [coarse] = model.card["scores"][0]["elsewhere"]
    full = str(model.schema.grid[0])
    assert coarse == str(model.schema.grid[0] // 2)
    shown = {row["resolution"] for row in report["rows"] if row["model"] == "field"}
    assert {f"{full}, step 4", f"{coarse}, step 4"} <= shown
    assert model.card["scores"][0]["elsewhere"][coarse] != model.card["scores"][0]["error"]


def test_a_grid_that_the_baseline_refuses_costs_the_baseline_alone(tmp_path, capsys):
    fields.write_dataset(waves(24, (9, 9), (False, False)), tmp_path / "odd.h5")
    overrides = [*run_overrides(tmp_path, tmp_path / "odd.h5"), "--run.baseline=true"]
    train.main(
        [
            "--config",
            str(ROOT / "configs" / "darcy.yaml"),
            *overrides,
            "--model.dim=32",
            "--run.name=r",
        ]
    )
    assert "No baseline in this report: FNO" in capsys.readouterr().out
    assert {
        row["model"] for row in json.loads((tmp_path / "r" / "report.json").read_text())["rows"]
    } >= {"field", "mean field"}
    assert fields.load(tmp_path / "r" / "model.safetensors").schema.outputs


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--data.batchsize=3", "data.batch_size"),
        ("--model.querys=3", "model.queries"),
        ("--data.batch_size=many", "batch_size"),
    ],
)
def test_unknown_keys_say_what_was_meant(argument, said, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main([argument])
    assert said in str(stop.value)


def test_missing_data_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="there is no file"):
        train.main(["--make=null", f"--data.path={tmp_path / 'none.h5'}"])


class StopAfter(L.Callback):
    """An interruption in the middle of an epoch."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


class EndAfter(L.Callback):
    """Stops after whole epochs; the schedule is that of the full run."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, *_):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


@pytest.mark.filterwarnings("ignore")
def test_resuming_equals_never_stopping(tmp_path):
    path = data_file(tmp_path)

    def weights(folder: str, resume: bool = False, callbacks=()) -> dict[str, torch.Tensor]:
        L.seed_everything(0, verbose=False)
        lightning = task()
        data = FieldDataModule(str(path), batch_size=6)
        fit(
            lightning,
            data,
            tmp_path / folder,
            resume=resume,
            max_epochs=4,
            callbacks=list(callbacks),
            **QUICK,
        )
        return lightning.state_dict()

    whole = weights("whole")
    with pytest.raises(KeyboardInterrupt):
        weights("broken", callbacks=[StopAfter(9)])
    resumed = weights("broken", resume=True)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert any(torch.is_floating_point(value) and value.std() > 0 for value in whole.values())
    fresh = weights("fresh", resume=True)  # killed before its first epoch was complete
    assert all(torch.equal(whole[key], fresh[key]) for key in whole)


@pytest.mark.filterwarnings("ignore")
def test_training_learns_and_seeds_fix_it(tmp_path):
    path = data_file(tmp_path, samples=64)
    errors = []
    for folder, callbacks in (("whole", []), ("begun", [EndAfter(2)])):
        L.seed_everything(0, verbose=False)
        lightning = task()
        data = FieldDataModule(str(path), batch_size=8)
        fit(lightning, data, tmp_path / folder, max_epochs=12, callbacks=callbacks, **QUICK)
        errors.append([h["val_error"] for h in lightning.history])
    assert len(errors[0]) == 12 and len(errors[1]) == 2
    assert errors[0][:2] == errors[1]
    assert errors[0][-1] < 0.5 * errors[0][0]
