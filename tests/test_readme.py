"""Every block and command of the README runs, in order, in one folder; unknown ones fail."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import waves

import fields
import fields.processors
import train

ROOT = Path(__file__).parents[1]

README = (ROOT / "README.md").read_text()
PIECE = re.compile(
    r"^```(?P<language>\w*)\n(?P<block>.*?)^```$"  # a fenced block
    r"|Saved as `(?P<saved>[\w/]+\.py)`"  # the block before it becomes a file
    r"|`(?P<command>(?:python3?|bash|pip|source|mkdocs) [^`\n]+)`"  # a command in the prose
    r"|`(?P<options>--[^`\n]+)`",  # options of train.py in the prose
    re.MULTILINE | re.DOTALL,
)
QUICK = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--data.batch_size=4",
    "--model.dim=32",
    "--run.baseline=false",
]
INSTALL_WORDS = {"-q", "--quiet", "-c", "-e"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The files that the README names, small: data, a user's file and settings, configurations."""
    ds = waves(12, (64,), (True,)).assign_coords(
        split=("sample", np.repeat(np.int8([0, 1, 2]), (8, 2, 2)))
    )
    (tmp_path / "data").mkdir()
    fields.write_dataset(ds, tmp_path / "data" / "burgers.h5")
    shutil.copy(tmp_path / "data" / "burgers.h5", tmp_path / "mine.h5")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    text = (ROOT / "configs" / "burgers.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(
        text.replace("data/burgers.h5", "mine.h5").replace("name: burgers", "name: mine")
    )
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    inside = (
        tmp_path / "fields" / "processors"
    )  # a processor saved there is imported as if it lay in the package
    inside.mkdir(parents=True)
    monkeypatch.setattr(fields.processors, "__path__", [*fields.processors.__path__, str(inside)])
    before = set(sys.modules)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("fields.processors.") and n not in before]:
        del sys.modules[name]


def commands(block: str) -> list[str]:
    """Lines of a shell block, continued lines joined, chains taken apart."""
    lines = block.replace("\\\n", " ").splitlines()
    return [
        part.strip()
        for line in lines
        if line.strip() and not line.startswith("#")
        for part in line.split("&&")
    ]


def run(command: str, folder: Path) -> None:
    """Run one command of the README, or check its parts if it installs something."""
    words = shlex.split(command)
    words[0] = words[0].removeprefix(".venv/bin/")
    match words:
        case ["python3", "-m", "venv", ".venv"] | ["source", ".venv/bin/activate"]:
            pass
        case ["pip", "install", *rest]:
            check_install(rest)
        case ["mkdocs", "serve"]:
            assert (ROOT / "mkdocs.yml").is_file()
        case ["bash", script]:
            check_script(ROOT / script)
        case ["python", "train.py", *rest]:
            train.main([*rest, *QUICK])
        case ["python", "-m", "fields", *_]:
            with (
                pytest.MonkeyPatch.context() as patch
            ):  # in this process, which has imported what takes seconds
                patch.setattr(sys, "argv", words[2:])
                with pytest.raises(SystemExit) as end:
                    runpy.run_module("fields", run_name="__main__", alter_sys=True)
            assert not end.value.code, command
        case ["python", script] if script.startswith("benchmarks/"):
            spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.ROOT = folder
            module.main()
        case _:
            pytest.fail(f"the README has a command that nothing here runs: {command}")


def check_install(words: list[str]) -> set[str]:
    """Check an editable install under the constraints with extras that exist; return them."""
    target = re.fullmatch(r"\.\[([\w,]+)\]", words[words.index("-e") + 1])
    extras = set(target[1].split(","))
    assert extras <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    assert (ROOT / words[words.index("-c") + 1]).is_file()
    assert set(words) <= INSTALL_WORDS | {target[0], words[words.index("-c") + 1]}
    return extras


def check_script(path: Path) -> None:
    """Check that the test command is executable, installs more, and runs the tests."""
    assert os.access(path, os.X_OK)
    lines = commands(path.read_text())
    install = next(shlex.split(line) for line in lines if "pip install" in line)
    first = shlex.split(next(c for c in all_commands() if "pip install" in c))
    assert install[0] == first[0] == ".venv/bin/pip"
    assert check_install(install[2:]) > check_install(first[2:])
    assert ".venv/bin/python -m pytest" in lines[-1]


def all_commands() -> list[str]:
    return [
        c
        for piece in PIECE.finditer(README)
        if piece["language"] == "bash"
        for c in commands(piece["block"])
    ]


@pytest.mark.filterwarnings("ignore")
def test_the_readme_runs_from_top_to_bottom(folder, capsys):
    namespace = {"__name__": "readme"}
    block = ""
    ran = []
    for piece in PIECE.finditer(README):
        line = README.count("\n", 0, piece.start()) + 1
        if piece["saved"]:
            (folder / piece["saved"]).write_text(block)
        elif piece["command"]:
            run(piece["command"], folder)
        elif piece["options"]:
            run(f"python train.py {piece['options']}", folder)
        elif piece["language"] == "python":
            block = piece["block"]
            exec(compile("\n" * line + block, "README.md", "exec"), namespace)
        elif piece["language"] == "bibtex":
            check_citation(piece["block"])
        elif piece["language"] == "bash":
            for command in commands(piece["block"]):
                run(command, folder)
        else:
            pytest.fail(
                f"README.md:{line}: no rule runs a block of {piece['language'] or 'no language'}"
            )
        ran.append(piece["language"] or "prose")
    assert ran.count("python") == README.count("```python") >= 3
    assert ran.count("bash") == README.count("```bash") >= 4
    promised = {"report.html", "report.json", "model.safetensors", "config.yaml"}
    for name in ("burgers", "hamiltonian", "beam", "mine", "mixer"):
        assert promised <= {path.name for path in (folder / "runs" / name).iterdir()}
    assert fields.open_dataset("prediction.nc").sizes["x"] == 1024
    assert namespace["fine"].sizes["x"] == 2000
    assert type(fields.load("runs/mixer/model.safetensors").processor).__name__ == "Mixer"
    check_mixer(namespace["Mixer"])
    assert (folder / "docs" / "front.png").stat().st_size > 10_000
    assert "8 train, 2 validation, 2 test" in (folder / "README.md").read_text()


def check_citation(entry: str) -> None:
    """Says what the file for programs and the package say."""
    told = dict(re.findall(r"(\w+) +[=:] [\"{]*(.+?)[\"}]*,?$", entry, re.MULTILINE))
    cff = (ROOT / "CITATION.cff").read_text()
    assert f'title: "{told["title"].replace("{", "").replace("}", "")}"' in cff
    assert f"version: {told['version']}" in cff
    assert (
        told["version"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )


def check_mixer(mixer: type) -> None:
    latent = fields.Latent(
        torch.randn(2, 5, 16), torch.rand(1, 5, 2) - 0.5, torch.tensor([True, False])
    )
    out = mixer(16)(latent)
    assert out.z.shape == (2, 5, 16)
    assert torch.isfinite(out.z).all()
    assert out.pos is latent.pos


@pytest.mark.parametrize(
    "command", ["make all", "python other.py", "pip install bracketfields", "bash other.sh"]
)
def test_commands_without_a_check_fail_this_test(command, folder):
    with pytest.raises((pytest.fail.Exception, AssertionError, ValueError)):
        run(command, folder)


def test_every_file_that_is_named_exists():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
