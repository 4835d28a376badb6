"""Two processes train as one does, test every sample once, and one of them writes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from problems import travelling, waves
from torch.distributed.fsdp import FlatParameter

import fields
import train
from fields.training.fit import strategy_options
from fields.training.optim import MuonAdamW

ROOT = Path(__file__).parents[2]

forks = pytest.mark.skipif(
    torch.cuda.is_available(), reason="a process that has used the GPU cannot be forked"
)


def settings(folder: Path, name: str, batch_size: int, *more: str) -> list[str]:
    return [
        "--config",
        str(ROOT / "configs" / "burgers.yaml"),
        f"--data.path={folder / 'waves.h5'}",
        "--data.stride=1",
        "--data.test_strides=[2,1]",
        f"--data.batch_size={batch_size}",
        "--data.validation=0.13",
        "--data.test=0.1",
        "--model.dim=32",
        "--model.queries=8",
        "--run.baseline=false",
        f"--run.folder={folder}",
        f"--run.name={name}",
        "--trainer.max_epochs=3",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        *more,
    ]


OPTIMIZERS = {
    "adamw": ("--model.optimizer=torch.optim.AdamW", "--model.optimizer.lr=0.002"),
    "muon": (),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A folder with 24 samples to train, 4 to validate, 3 to test, and the runs of one process."""
    folder = tmp_path_factory.mktemp("runs")
    fields.write_dataset(waves(31, (16,), (True,)), folder / "waves.h5")
    return folder


def started_by_torchrun(rank: int, port: int, argv: list[str]) -> None:
    """What torchrun does for one of two processes; the second one must not write."""
    torch.set_num_threads(1)  # threads do not survive a fork
    ranks = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "LOCAL_WORLD_SIZE": 2,
        "GROUP_RANK": 0,
    }
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in (ranks | address).items()})
    if rank == 1:
        torch.save = fields.checkpoints.checkpoint.save = None  # type: ignore[assignment]
    train.main(argv)


def pair(argv: list[str]) -> None:
    port = random.randrange(20_000, 30_000)
    processes.start_processes(started_by_torchrun, (port, argv), nprocs=2, start_method="fork")


def curve(run: Path) -> torch.Tensor:
    """(epochs 2) training loss and validation error."""
    history = torch.load(run / "checkpoints" / "last.ckpt", weights_only=False)["history"]
    return torch.tensor([[h["loss"], h["val_error"]] for h in history], dtype=torch.float64)


@forks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["auto", pytest.param("fsdp", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("optimizer", "tolerance"),
    [("adamw", 1e-5), pytest.param("muon", 1e-3, marks=pytest.mark.slow)],
)
def test_two_processes_train_as_one(alone, strategy, optimizer, tolerance):
    """Sums of gradients round differently in two parts; Muon, in bfloat16, amplifies that."""
    name = f"{optimizer}-{strategy}"
    if not (alone / optimizer).is_dir():
        train.main(settings(alone, optimizer, 8, *OPTIMIZERS[optimizer]))
    pair(settings(alone, name, 4, f"--trainer.strategy={strategy}", *OPTIMIZERS[optimizer]))
    one = curve(alone / optimizer)
    two = curve(alone / name)
    assert one.shape == (3, 2) and float(one[-1, 1]) < float(one[0, 1])
    torch.testing.assert_close(one, two, rtol=tolerance, atol=0)
    scores = [
        fields.load(alone / run / "model.safetensors").card["scores"] for run in (optimizer, name)
    ]
    assert (
        [s["samples"] for s in scores[0]]
        == [s["samples"] for s in scores[1]]
        == [3] * len(scores[0])
    )
    assert [s["mean"] for s in scores[1]] == pytest.approx(
        [s["mean"] for s in scores[0]], rel=tolerance
    )
    report = json.loads((alone / name / "report.json").read_text())
    assert report["rows"] and (alone / name / "report.html").is_file()


@pytest.mark.slow
def test_torchrun_trains_tests_and_compares_in_time(tmp_path):
    """The documented command: rollouts, wall time and the FNO, by two processes; then resumed."""
    evolution = travelling(13, 31)
    split = np.repeat([0, 1, 2], [8, 2, 3])
    fields.write_dataset(evolution.assign_coords(split=("sample", split)), tmp_path / "data.h5")
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        "train.py",
        "--config",
        str(ROOT / "configs" / "klein_gordon.yaml"),
        f"--data.path={tmp_path / 'data.h5'}",
        "--data.test_paths=[]",
        "--data.batch_size=8",
        "--model.dim=32",
        "--model.seconds=3",
        "--trainer.accelerator=cpu",
        f"--run.folder={tmp_path}",
        "--run.name=r",
        "--run.baseline=true",
        "--trainer.max_epochs=1000",
    ]
    for more in ([], ["--resume"]):
        done = subprocess.run([*words, *more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 3 and done.stdout.count("next: ") == 1
        scores = fields.load(tmp_path / "r" / "model.safetensors").card["scores"]
        assert {s["model"]: s["samples"] for s in scores} == {
            "field": 3,
            "FNO (neuraloperator)": 3,
            "persistence": 3,
        }
    assert (
        3
        <= torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=False)["elapsed"]
        < 10
    )


def test_strategies_that_cannot_train_say_why(monkeypatch):
    from lightning.pytorch.strategies import FSDPStrategy

    with pytest.raises(ValueError, match="only one process"):
        strategy_options({"strategy": "fsdp"})
    with pytest.raises(ValueError, match="flattens weights"):
        strategy_options({"strategy": FSDPStrategy()})
    with pytest.raises(ValueError, match="flattened into vectors"):
        MuonAdamW([FlatParameter(torch.zeros(4))])
