"""A run that was killed at any moment goes on to the weights it would have had."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from problems import waves

import fields
from fields.core import files
from fields.data.datamodule import FieldDataModule
from fields.encoders.windowed_moments import WindowedMoments
from fields.training.fit import fit
from fields.training.task import FieldTraining

ROOT = Path(__file__).parents[2]
STEPS = 3  # per epoch


def encoder(dim, schema):
    return WindowedMoments(dim, schema, tokens=(4,))


def trained(
    folder: Path, run: str, *, resume: bool = False, task: FieldTraining | None = None
) -> dict[str, torch.Tensor]:
    """Weights after four epochs."""
    torch.set_num_threads(1)  # threads do not survive a fork
    task = task or FieldTraining(dim=32, encoder=encoder, queries=8, seed=3)
    data = FieldDataModule(str(folder / "waves.h5"), batch_size=6, test=0.05)
    quick = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    fit(task, data, folder / run, resume=resume, max_epochs=4, **quick)
    return task.model.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("runs")
    fields.write_dataset(waves(20, (16,), (True,)), folder / "waves.h5")
    return folder, trained(folder, "whole")


class KilledAtAStep(FieldTraining):
    """Dies after so many steps."""

    left: int

    def on_train_batch_end(self, *_):
        super().on_train_batch_end()
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def die(folder: Path, run: str, when: str, number: int) -> None:
    """A process of its own that ends in the middle of a step, or of writing its n-th checkpoint."""
    task: FieldTraining | None = None
    if when == "step":
        task = KilledAtAStep(dim=32, encoder=encoder, queries=8, seed=3)
        task.left = number
    else:
        flush = files._flush
        left = [number]

        def half(part, mode):
            left[0] -= 1
            if left[0]:
                return flush(part, mode)
            os.truncate(part, part.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        files._flush = half
    trained(folder, run, task=task)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="a process that has used the GPU cannot be forked"
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("when", "first", "last"),
    [
        pytest.param("step", 1, STEPS - 1, marks=pytest.mark.slow),
        ("step", STEPS, 4 * STEPS),
        ("writing", 2, 8),
    ],
    ids=["in the first epoch", "at a step", "while writing"],
)
def test_a_killed_run_goes_on_to_the_same_weights(whole, when, first, last):
    folder, weights = whole
    number = random.randint(first, last)
    run = f"{when}-{number}"
    process = multiprocessing.get_context("fork").Process(
        target=die, args=(folder, run, when, number)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{run} was not killed"
    resumed = trained(folder, run, resume=True)
    assert all(torch.equal(weights[key], resumed[key]) for key in weights), run


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_over_is_not_trained_again(whole):
    folder, weights = whole
    again = trained(folder, "whole", resume=True)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


class Slow(FieldTraining):
    """Each step takes a tenth of a second of the budget."""

    steps = 0

    def training_step(self, *args):
        self.steps += 1
        time.sleep(0.1)
        return super().training_step(*args)


@pytest.mark.filterwarnings("ignore")
def test_wall_time_goes_on_where_it_stopped(whole):
    """0.9 s in all, interrupted in the second epoch: the resumed run has what is left of them."""
    folder, _ = whole

    class Stopped(Slow):
        def on_train_batch_end(self, *_):
            super().on_train_batch_end()
            if self.steps == STEPS + 2:
                raise KeyboardInterrupt

    def budgeted(kind: type[Slow], seconds: float) -> Slow:
        return kind(dim=32, encoder=encoder, queries=8, seconds=seconds)

    with pytest.raises(KeyboardInterrupt):
        trained(folder, "budget", task=budgeted(Stopped, 1e6))
    spent = torch.load(folder / "budget" / "last.ckpt", weights_only=False)["elapsed"]
    assert spent >= 0.1 * STEPS
    resumed = budgeted(Slow, spent + 0.25)
    weights = trained(folder, "budget", resume=True, task=resumed)
    assert 1 <= resumed.steps <= 3 and resumed.elapsed >= spent + 0.25
    ended = budgeted(Slow, spent + 0.25)
    again = trained(folder, "budget", resume=True, task=ended)
    assert ended.steps == 0 and all(torch.equal(weights[key], again[key]) for key in weights)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "status"), [("SIGINT", 130), ("SIGTERM", 130), ("SIGKILL", -9)])
def test_a_signal_ends_the_program_with_how_to_go_on(tmp_path, kind, status):
    """The program, stopped after a random time in training and resumed by the command it names."""
    fields.write_dataset(waves(200, (16,), (True,)), tmp_path / "waves.h5")
    words = [
        "train.py",
        f"--data.path={tmp_path / 'waves.h5'}",
        "--data.stride=1",
        "--data.test_strides=[1]",
        "--data.batch_size=4",
        "--model.dim=32",
        "--run.baseline=false",
        f"--run.folder={tmp_path}",
        "--trainer.max_epochs=6",
    ]
    subprocess.run(
        [sys.executable, *words, "--run.name=whole"], cwd=ROOT, check=True, capture_output=True
    )
    running = subprocess.Popen(
        [sys.executable, *words, "--run.name=cut"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    while not last.is_file():
        assert running.poll() is None
        time.sleep(0.05)
    time.sleep(random.uniform(0, 3))
    running.send_signal(getattr(signal, kind))
    said, _ = running.communicate(timeout=120)
    assert running.returncode == status
    resume = [sys.executable, *words, "--run.name=cut", "--resume"]
    if kind != "SIGKILL":
        told = re.search(r"go on with: python (.*)", said)
        assert told, said
        resume = [sys.executable, *shlex.split(told[1])]
    subprocess.run(resume, cwd=ROOT, check=True, capture_output=True)
    one, two = (
        fields.load(tmp_path / run / "model.safetensors").state_dict() for run in ("whole", "cut")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
