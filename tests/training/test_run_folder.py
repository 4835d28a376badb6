"""A run does not touch the results of another one, and continues only what it began."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import Namespace
from problems import waves

import fields
import train
from fields.training.catalogue import make_missing_files
from fields.training.fit import check_checkpoint
from fields.training.run import again
from fields.training.run_folder import (
    check_resumable,
    compare_settings,
    open_run_folder,
    write_settings,
)
from fields.training.settings import Run, settings_parser

ROOT = Path(__file__).parents[2]
QUICK = [
    "--config", str(ROOT / "configs" / "burgers.yaml"), "--data.stride=1",
    "--data.test_strides=[1]", "--data.batch_size=8", "--model.dim=32", "--run.baseline=false",
    "--model.processor.init_args.depth=1", "--tokens=[4]", "--run.name=r", "--run.folder=runs",
    "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--data.path=a.h5",
]  # fmt: skip


def settings(*words: str) -> tuple[str, object]:
    parser = settings_parser()
    config = parser.parse_args([*QUICK, *words])
    return parser.dump(config, skip_validation=True), config.data


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fields.write_dataset(waves(20, (16,), (True,)), "a.h5")
    return tmp_path


def begun(folder: Path) -> None:
    """What a run leaves when it is interrupted after an epoch."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    write_settings(folder, *settings())


def test_a_new_run_has_a_folder_of_its_own(folder):
    def name(**run) -> str:
        with open_run_folder(Run(**run), "data/r.h5") as chosen:
            return str(chosen)

    assert name() == "runs/r" == name()  # the first one has left nothing
    begun(Path("runs/r"))
    assert name() == "runs/r-2"
    assert name(resume=True) == name(overwrite=True) == "runs/r"
    Path("runs/r-2/model.safetensors").touch()
    assert name(name="r") == "runs/r-3"
    Path("runs/file").touch()
    with pytest.raises(ValueError, match="a part of it is a file"):
        name(name="file")


def hold(held, release) -> None:
    with open_run_folder(Run(name="r"), "a.h5"):
        held.set()
        release.wait(60)


def test_the_second_run_in_a_folder_stops_and_names_the_first(folder):
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    release = fork.Event()
    first = fork.Process(target=hold, args=(held, release))
    first.start()
    assert held.wait(60)
    message = rf"^train.py: another run is using the folder runs/r \(process {first.pid} on "
    with pytest.raises(SystemExit, match=message):
        train.main(QUICK)
    assert os.listdir("runs/r") == [".lock"]
    first.kill()
    first.join()
    with open_run_folder(Run(name="r"), "a.h5") as taken_over:
        assert str(taken_over) == "runs/r"
    assert os.listdir("runs/r") == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--model.dim=64", "`model.dim` was 32 and is 64"),
        ("--model.seed=1", "`model.seed` was 0 and is 1"),
        ("--model.optimizer.init_args.lr=0.5", r"lr` was 0.02 and is 0.5"),
        ("--data.batch_size=4", "`data.batch_size` was 8 and is 4"),
        ("--data.seed=3", "`data.seed` was 0 and is 3"),
        ("--model.processor.init_args.depth=2", r"depth` was 1 and is 2"),
        ("--model.processor=fields.processors.GAT", r"class_path` was fields.processors.*GAT"),
        ("--data.path=b.h5", "the content of b.h5 differs"),
        ("--trainer.gradient_clip_val=3", "gradient_clip_val` was .* and is 3"),
    ],
)
def test_a_resumed_run_with_other_settings_is_refused(folder, word, message):
    begun(folder / "runs")
    fields.write_dataset(waves(20, (16,), (True,), seed=1), "b.h5")
    with pytest.raises(ValueError, match=message) as raised:
        check_resumable(folder / "runs", *settings(word))
    assert "\n" not in str(raised.value)


def test_a_resumed_run_may_be_longer_and_its_file_may_have_moved(folder):
    begun(folder / "runs")
    assert check_resumable(folder / "runs", *settings("--resume")) == []
    [said] = check_resumable(folder / "runs", *settings("--trainer.max_epochs=99"))
    assert said.endswith("and is 99.") and "`trainer.max_epochs` was" in said
    os.rename("a.h5", "moved.h5")
    [said] = check_resumable(folder / "runs", *settings("--data.path=moved.h5"))
    assert said == "Changed since the run was started: `data.path` was a.h5 and is moved.h5."


def test_a_file_that_was_replaced_under_its_name_is_noticed(folder):
    begun(folder / "runs")
    before = Path("a.h5").stat()
    fields.write_dataset(waves(20, (16,), (True,), seed=1), "a.h5")
    os.utime("a.h5", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ValueError, match=r"the content of a\.h5 differs"):
        check_resumable(folder / "runs", *settings())


def test_settings_that_only_one_version_knows_are_not_changes():
    assert compare_settings("a: 1\nb: {c: 2}", "a: 1\nb: {d: 3}\ne: 4") == {}
    assert compare_settings("a: null", "a: {b: 1}") == {"a.b": "`a.b` was unset and is 1"}


def test_the_program_keeps_results_and_continues_where_it_is_told(folder, capsys):
    words = [*QUICK, "--trainer.max_epochs=1"]
    train.main(words)
    first = Path("runs/r/model.safetensors").read_bytes()
    train.main([*words, "--model.seed=5"])
    assert "writing to runs/r-2" in capsys.readouterr().out
    assert Path("runs/r/model.safetensors").read_bytes() == first
    assert yaml.safe_load(Path("runs/r-2/config.yaml").read_text())["model"]["seed"] == 5
    with pytest.raises(SystemExit, match=r"`model\.seed` was 0 and is 5"):
        train.main([*words, "--model.seed=5", "--resume"])
    train.main([*words, "--resume"])
    assert fields.load("runs/r").state_dict().keys()
    train.main([*words, "--model.seed=5", "--run.overwrite=true"])
    one, two = (fields.load(f"runs/{name}").state_dict() for name in ("r", "r-2"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert sorted(os.listdir("runs")) == ["r", "r-2"]
    assert not [name for name in os.listdir("runs/r") if name.startswith(".")]


def test_the_command_to_continue_names_a_numbered_folder():
    assert again("train.py --resume", Path("runs/r")) == "train.py --resume"
    assert again("train.py", Path("runs/r-2")) == "train.py --run.name r-2 --resume"
    assert again("train.py", None) == "train.py --resume"


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_no_code_from_a_checkpoint_is_run_by_resuming(folder):
    checkpoints = Path("runs/r/checkpoints")
    checkpoints.mkdir(parents=True)
    torch.save({"x": Trap()}, checkpoints / "last.ckpt")
    with pytest.raises(SystemExit, match="could run code"):
        train.main([*QUICK, "--resume"])
    assert not Path("trapped").exists()


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="it has no callbacks, loops"):
        check_checkpoint(path)
    whole = path.read_bytes()
    for content in (b"", b"x" * 100, whole[: len(whole) // 2], b"\x80\x02" + b"}" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Delete .* to start from the beginning") as raised:
            check_checkpoint(path)
        assert "\n" not in str(raised.value)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="it has no callbacks"):
        check_checkpoint(path)


def test_a_test_file_made_with_other_settings_is_not_reused(folder, capsys):
    def make(**test) -> None:
        recipe = {"problem": "heat", "samples": 6, "resolution": 16, "frames": 4, "seed": 1}
        recipe["test"] = {"part": "test", "samples": 2, "frames": 5, **test}
        data = Namespace(path="heat.h5", test_paths=["heat_test.h5"])
        make_missing_files(data, recipe)

    make()
    content = Path("heat_test.h5").read_bytes()
    capsys.readouterr()
    make()  # the same files again
    assert capsys.readouterr().out == ""
    for change, said in (
        ({"frames": 7}, "frames 5 instead of 7"),
        ({"seed": 2}, "seed 1 instead of 2"),
        ({"samples": 3, "resolution": 8}, "samples 2 instead of 3, resolution 16 instead of 8"),
    ):
        with pytest.raises(ValueError, match=f"heat_test.h5 exists and was made with {said}"):
            make(**change)
    assert Path("heat_test.h5").read_bytes() == content
    make_missing_files(Namespace(path="heat.h5", test_paths=[]), {"problem": "heat", "frames": 4})
    said = capsys.readouterr().out
    assert "resolution 16 instead of 64, seed 1 instead of 0: it is used as it is" in said
    make_missing_files(Namespace(path="a.h5", test_paths=[]), {"problem": "heat"})
    assert capsys.readouterr().out == ""  # not a file of the catalogue
