"""The leaderboard: equal parameters, one cached run per cell, a table that says where each number comes from."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from problems import waves

import fields
from benchmarks import cells, leaderboard
from fields.core.sample import collate
from fields.data.normalizer import Normalizer


def test_widths_meet_the_number_of_parameters():
    def count(width: int) -> int:
        return 3 * width**2 + 5 * width

    width = cells.width_for(10_000, count, 2)
    assert width % 2 == 0
    assert abs(count(width) - 10_000) <= min(abs(count(width + d) - 10_000) for d in (-2, 2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "grand,FNOO"], "no model 'FNOO'"),
        (["--budget", "ten"], "seconds such as 600s"),
    ],
)
def test_bad_words_say_what_to_do(words, said, capsys):
    with pytest.raises(SystemExit):
        leaderboard.arguments(words)
    assert said in capsys.readouterr().err


def test_models_that_need_shared_points_are_refused_before_training_or_left_out_with_a_word(capsys):
    each, same = (
        SimpleNamespace(train=SimpleNamespace(shared=shared))
        for shared in (None, torch.zeros(4, 2))
    )
    with pytest.raises(
        SystemExit,
        match=r"^leaderboard.py: FNO, KernelRidge need points that all samples share, and every sample",
    ):
        leaderboard.able(["field", "FNO", "KernelRidge"], "stars", each)
    assert leaderboard.able(None, "stars", each) == ["field", "Transolver", "MeanValue"]
    assert (
        "Left out, since every sample of stars has points of its own: FNO, UNet, DeepONet"
        in capsys.readouterr().out
    )
    assert (
        leaderboard.able(["FNO"], "burgers", same) == ["FNO"]
        and leaderboard.able(None, "burgers", same) == leaderboard.DEFAULT
    )


@pytest.mark.filterwarnings("ignore")
def test_a_tiny_leaderboard_is_written_and_goes_on_where_it_was(tmp_path):
    ds = waves(24, (32,), (True,))
    ds.attrs["protocol"] = json.dumps({"published": {"somebody": "rel. L2 0.5: a paper"}})
    fields.write_dataset(ds, tmp_path / "waves.h5")
    ran = []

    def how(cell, folder):
        ran.append((cell["model"], cell["optimizer"] if cell["search"] else cell["seed"]))
        return cells.run(cell, folder)

    command = [
        "--problem", "burgers", "--budget", "1e", "--params", "3e4", "--seeds", "2", "--folder", str(tmp_path / "cells"),
        "--out", str(tmp_path / "out"), f"--data.path={tmp_path / 'waves.h5'}", "--data.stride=2", "--data.test_strides=[2,1]",
        "--data.batch_size=8", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    leaderboard.main([*command, "--search", "0.4", "--models", "UNet"], how)
    trials = [("UNet", name) for name in cells.OPTIMIZERS]
    assert ran == [*trials, ("UNet", 0), ("UNet", 1)]
    leaderboard.main(
        [
            *command,
            "--search",
            "0",
            "--seeds",
            "1",
            "--models",
            "field+decoder/cpwl,PCANet",
            "KernelRidge",
        ],
        how,
    )
    leaderboard.main([*command, "--search", "0.4", "--models", "UNet", "KernelRidge"], how)
    assert ran[5:] == [("field+decoder/cpwl", 0), ("PCANet", 0), ("KernelRidge", 0)]
    told = json.loads((tmp_path / "out" / "burgers.json").read_text())
    unet = told["results"]["UNet"]
    assert abs(unet[0]["parameters"] / 3e4 - 1) < 0.2 and unet[0]["steps"] == 3
    assert set(unet[0]["searched"]) == set(cells.OPTIMIZERS)
    assert unet[1]["cell"]["optimizer"] == min(unet[0]["searched"], key=unet[0]["searched"].get)
    assert unet[0]["scores"][0]["mean"] != unet[1]["scores"][0]["mean"]  # seeds differ
    words = (tmp_path / "out" / "burgers.md").read_text()
    assert words.count("| UNet | 16 |") == 1 and words.count("| UNet | 32 |") == 1 and "±" in words
    assert "| somebody |" in words and "a paper |" in words
    assert (tmp_path / "out" / "burgers_resolution.png").stat().st_size > 1000


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


@pytest.mark.parametrize("names", [PROCESSORS, DECODERS], ids=["processors", "decoders"])
def test_fields_are_matched_within_one_percent(names, tmp_path, target=1e6):
    fields.write_dataset(waves(24, (32,), (True,)), tmp_path / "waves.h5")
    for name in names:
        cell = {"model": leaderboard.full_name(name), "params": target, "optimizer": "MuonAdamW"}
        parts, _ = cells.settings(
            "burgers", cell["model"], [f"--data.path={tmp_path / 'waves.h5'}", "--data.stride=1"]
        )
        parts.data.setup()
        problem = {
            "schema": parts.data.schema,
            "normalizer": Normalizer(parts.data.schema, parts.data.statistics),
        }
        width, ratio = cells.size_for(cell, parts, problem)
        model = cells.sized(cell, parts, width, ratio)[1](**problem)
        count = sum(p.numel() for p in model.parameters())
        assert abs(count / target - 1) < 0.01, (name, width, ratio, count)
        assert (
            model(collate([parts.data.train[0]])).isfinite().all()
        )  # heads divide the width in every part


def test_pace_is_not_measured_where_training_is_on_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(SystemExit):
        leaderboard.arguments(["--paced"])
    assert "on a GPU" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_seconds_become_steps_at_the_pace_of_each_model(tmp_path, capsys):
    fields.write_dataset(waves(24, (32,), (True,)), tmp_path / "waves.h5")
    files = [
        f"--data.path={tmp_path / 'waves.h5'}",
        "--data.stride=2",
        "--data.test_strides=[2]",
        "--data.batch_size=8",
    ]
    rest = [
        "--folder",
        str(tmp_path / "cells"),
        "--out",
        str(tmp_path),
        "--trainer.accelerator=cpu",
        *files,
    ]
    command = [
        "--params",
        "3e4",
        "--budget",
        "0.4s",
        "--paced",
        "--search",
        "0",
        "--seeds",
        "1",
        "--models",
        "transformer,UNet",
    ]
    leaderboard.main([*command, *rest], cells.run)
    told = json.loads((tmp_path / "burgers.json").read_text())["results"]
    for (run,) in told.values():
        assert run["steps"] == round(0.4 / run["cell"]["pace"]) > 1
    assert (
        "side by side" in (tmp_path / "burgers.md").read_text()
        and "transformer" in capsys.readouterr().out
    )
    with pytest.raises(SystemExit):
        leaderboard.arguments(["--paced", "--budget", "3e"])
