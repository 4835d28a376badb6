"""Every exit status that the documentation lists is that of the program, and no other is known."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import datasets.__main__ as generator
import train
from fields.cli.main import COMMANDS, main
from fields.io import write_dataset

PAGE = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text()


def documented(program: str) -> set[int]:
    """Statuses in the table that follows ``Of `program` ``."""
    section = PAGE.split("## Exit statuses")[1].split(f"Of `{program}`")[1].split("\nOf `")[0]
    return {int(status) for status in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    u = (("sample", "x"), np.random.default_rng(0).normal(size=(4, 16)), {"role": "output"})
    a = (("sample", "x"), np.random.default_rng(1).normal(size=(4, 16)), {"role": "input"})
    write_dataset(xr.Dataset({"a": a, "u": u}, {"x": np.arange(16) / 16}), "a.h5")
    (tmp_path / "broken.h5").write_bytes(Path("a.h5").read_bytes()[:2000])
    np.savez("unknown.npz", w=np.zeros((3, 4)))
    return tmp_path


def status_of(call, words: list[str]) -> int:
    try:
        return call(words) or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def test_statuses_of_the_tools(folder, monkeypatch, capsys):
    for status, words in (
        (0, ["validate", "a.h5"]),
        (0, ["inspect", "a.h5"]),
        (1, ["validate", "broken.h5"]),
        (1, ["inspect", "unknown.npz"]),
        (2, ["inspect", "missing.h5"]),
        (2, ["repack", "a.h5", "a.h5"]),
        (2, ["no-such-command"]),
        (2, ["inspect", "a.h5", "--no-such-option"]),
    ):
        assert status_of(main, words) == status, words
    assert "Traceback" not in capsys.readouterr().err

    def stopped(number):
        def progress(*_, **__):
            os.kill(os.getpid(), number)

        return progress

    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        monkeypatch.setattr("fields.io.tools.repack._copy_sample", stopped(number))
        assert status_of(main, ["repack", "a.h5", "b.h5"]) == status
    assert documented("python -m fields") == {0, 1, 2, 130, 143}


def test_a_command_without_memory_or_permission_ends_as_documented(folder, monkeypatch, capsys):
    def raising(error):
        def list_models(*, json: bool = False) -> int:
            """List models.

            Args:
                json: print JSON.
            """
            raise error

        return list_models

    for error, status, said in (
        (MemoryError(), 2, "error: there is not enough memory.\n"),
        (PermissionError(13, "denied"), 2, "error: [Errno 13] denied\n"),
    ):
        monkeypatch.setitem(COMMANDS, "list", raising(error))
        assert status_of(main, ["list"]) == status
        assert capsys.readouterr().err == said


def test_statuses_of_the_generator(folder, monkeypatch):
    small = ["burgers", "--samples", "2", "--resolution", "32", "--out"]
    assert status_of(generator.main, [*small, "new.h5"]) == 0
    os.mkdir("folder.h5")
    assert status_of(generator.main, [*small, "folder.h5"]) == 1
    assert status_of(generator.main, [*small, "a.h5/b.h5"]) == 1
    assert status_of(generator.main, ["burgers", "--no-such-option", "1"]) == 2

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("datasets.__main__.write", interrupted)
    assert status_of(generator.main, [*small, "new.h5"]) == 130
    assert documented("python -m datasets") == {0, 1, 2, 130}


def test_statuses_of_the_training(folder):
    assert status_of(train.main, ["--data.path=missing.h5", "--make=null"]) == 1
    assert status_of(train.main, ["--no.such.key=1"]) == 1
    assert status_of(train.main, ["--data.path=a.h5", "--run.folder=a.h5"]) == 1
    assert documented("train.py") == {0, 1, 3, 130}
