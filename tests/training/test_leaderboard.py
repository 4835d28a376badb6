"""The leaderboard: equal parameters, one cached run per model and seed, one table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from problems import waves

import fields
from benchmarks import leaderboard, runs
from fields.core.sample import collate
from fields.data.normalizer import Normalizer

ROOT = Path(__file__).parents[2]
PROCESSORS = (
    "transformer",
    "grand",
    "hamiltonian",
    "graph_hamiltonian",
    "double_bracket",
    "hybrid",
    "metriplectic",
    "attention_ode",
)
DECODERS = ("cross", "concat", "film", "hyper", "deeponet", "pca")


@pytest.fixture
def small(tmp_path):
    """Options for a small data file, in a folder for results."""
    ds = waves(24, (32,), (True,))
    ds.attrs["protocol"] = json.dumps({"published": {"somebody": "rel. L2 0.5: a paper"}})
    fields.write_dataset(ds, tmp_path / "waves.h5")
    return [f"--data.path={tmp_path / 'waves.h5'}", "--data.stride=2", "--data.batch_size=8"]


def test_scripts_find_the_packages_of_the_repository():
    command = [sys.executable, str(ROOT / "benchmarks" / "queries.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scripts = (ROOT / "benchmarks").glob("*.py")
    assert [path.name for path in scripts if "sys.path" in path.read_text()] == []


def test_widths_match_the_number_of_parameters():
    def count(width: int) -> int:
        return 3 * width**2 + 5 * width

    width = runs.nearest_width(10_000, count, 2)
    assert width % 2 == 0
    assert abs(count(width) - 10_000) <= min(abs(count(width + d) - 10_000) for d in (-2, 2))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "grand,FNOO"], "no model 'FNOO'"),
        (["--budget", "ten"], "seconds such as 600s"),
        (["--paced", "--budget", "3e"], "Give seconds"),
    ],
)
def test_invalid_options_are_explained(words, message, capsys):
    with pytest.raises(SystemExit):
        leaderboard.arguments(words)
    assert message in capsys.readouterr().err


def test_step_times_are_refused_on_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(SystemExit):
        leaderboard.arguments(["--paced"])
    assert "on a GPU" in capsys.readouterr().err


def test_models_that_need_shared_points_are_refused_or_omitted(capsys):
    different = SimpleNamespace(train=SimpleNamespace(shared_points=None))
    shared = SimpleNamespace(train=SimpleNamespace(shared_points=torch.zeros(4, 2)))
    message = r"^leaderboard.py: FNO, KernelRidge need points that all samples share, but every"
    with pytest.raises(SystemExit, match=message):
        leaderboard.supported(["field", "FNO", "KernelRidge"], "stars", different)
    assert leaderboard.supported(None, "stars", different) == ["field", "Transolver", "MeanValue"]
    said = capsys.readouterr().out
    assert "Omitted, since every sample of stars has its own points: FNO, UNet, DeepONet" in said
    assert leaderboard.supported(["FNO"], "burgers", shared) == ["FNO"]
    assert leaderboard.supported(None, "burgers", shared) == leaderboard.DEFAULT


@pytest.mark.filterwarnings("ignore")
def test_a_small_leaderboard_is_written_and_resumed(small, tmp_path):
    ran = []

    def runner(spec, folder):
        ran.append((spec["model"], spec["optimizer"] if spec["search"] else spec["seed"]))
        return runs.run(spec, folder)

    options = ["--problem", "burgers", "--budget", "1e", "--params", "3e4", "--seeds", "2"]
    options += ["--folder", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    options += [*small, "--data.test_strides=[2,1]", "--trainer.accelerator=cpu"]
    search = [*options, "--search", "0.4"]
    leaderboard.main([*search, "--models", "UNet"], runner)
    trials = [("UNet", name) for name in runs.OPTIMIZERS]
    assert ran == [*trials, ("UNet", 0), ("UNet", 1)]
    single = [*options, "--search", "0", "--seeds", "1"]
    leaderboard.main([*single, "--models", "field+decoder/cpwl,PCANet", "KernelRidge"], runner)
    leaderboard.main([*search, "--models", "UNet", "KernelRidge"], runner)
    assert ran[5:] == [("field+decoder/cpwl", 0), ("PCANet", 0), ("KernelRidge", 0)]
    unet = json.loads((tmp_path / "out" / "burgers.json").read_text())["results"]["UNet"]
    assert abs(unet[0]["parameters"] / 3e4 - 1) < 0.2 and unet[0]["steps"] == 3
    assert set(unet[0]["searched"]) == set(runs.OPTIMIZERS)
    assert unet[1]["spec"]["optimizer"] == min(unet[0]["searched"], key=unet[0]["searched"].get)
    assert unet[0]["scores"][0]["mean"] != unet[1]["scores"][0]["mean"]  # seeds differ
    text = (tmp_path / "out" / "burgers.md").read_text()
    assert text.count("| UNet | 16 |") == 1 and text.count("| UNet | 32 |") == 1 and "±" in text
    assert "| somebody |" in text and "a paper |" in text
    assert (tmp_path / "out" / "burgers_resolution.png").stat().st_size > 1000


@pytest.mark.parametrize("names", [PROCESSORS, DECODERS], ids=["processors", "decoders"])
def test_parameters_match_the_target_within_one_percent(names, small):
    target = 1e6
    for name in names:
        spec = {"model": leaderboard.full_name(name), "params": target, "optimizer": "MuonAdamW"}
        parts, _ = runs.settings("burgers", spec["model"], [*small, "--data.stride=1"])
        parts.data.setup()
        schema = parts.data.schema
        problem = {"schema": schema, "normalizer": Normalizer(schema, parts.data.statistics)}
        width, ratio = runs.fit_size(spec, parts, problem)
        model = runs.task_of_size(spec, parts, width, ratio)[1](**problem)
        count = sum(p.numel() for p in model.parameters())
        assert abs(count / target - 1) < 0.01, (name, width, ratio, count)
        # The number of heads divides the width in every component.
        assert model(collate([parts.data.train[0]])).isfinite().all()


@pytest.mark.filterwarnings("ignore")
def test_seconds_become_steps_with_the_step_time_of_each_model(small, tmp_path, capsys):
    options = ["--params", "3e4", "--budget", "0.4s", "--paced", "--search", "0", "--seeds", "1"]
    options += ["--models", "transformer,UNet", "--trainer.accelerator=cpu"]
    options += ["--folder", str(tmp_path / "runs"), "--out", str(tmp_path)]
    leaderboard.main([*options, *small, "--data.test_strides=[2]"], runs.run)
    results = json.loads((tmp_path / "burgers.json").read_text())["results"]
    for (run,) in results.values():
        assert run["steps"] == round(0.4 / run["spec"]["step_time"]) > 1
    assert "side by side" in (tmp_path / "burgers.md").read_text()
    assert "transformer" in capsys.readouterr().out
