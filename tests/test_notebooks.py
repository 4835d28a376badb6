"""Notebooks keep their outputs, find the repository from anywhere, and run from start to end in reduced settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fields

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BYTES = 1_000_000  # of a notebook with its pictures
SECONDS = 60  # of processor time, imports included; a busy slow core needs 10 to 25


def code(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_kept(path):
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_asserts_what_it_says_and_ends_with_what_to_try_next(path):
    last = json.loads(path.read_text())["cells"][-1]
    assert last["cell_type"] == "markdown" and "next" in "".join(last["source"]).lower()
    assert sum("assert " in "".join(cell["source"]) for cell in code(path)) >= 1


@pytest.mark.parametrize("place", ["notebooks", "elsewhere"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_finds_the_repository_from_wherever_the_kernel_starts(
    path, place, tmp_path, monkeypatch
):
    """In the repository by looking up from there; elsewhere by where the package was installed from."""
    assert fields.__file__ is not None
    monkeypatch.chdir(path.parent if place == "notebooks" else tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    head, _, _ = "".join(code(path)[0]["source"]).partition("\nsys.path.insert")
    namespace: dict = {}
    exec(head, namespace)
    assert namespace["ROOT"] == ROOT


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_and_its_claims_hold(path):
    """As a reader runs it, but with less training and fewer samples where it knows `FIELDS_QUICK`: in seconds."""
    options = [
        "-q",
        "-o",
        "addopts=",
        "-p",
        "nbmake.pytest_plugin",
        "--nbmake",
        "--nbmake-timeout=900",
    ]
    command = [sys.executable, "-m", "pytest", *options, str(path.relative_to(ROOT))]
    env = {
        **os.environ,
        "FIELDS_QUICK": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    before = os.times()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    assert seconds < SECONDS, (
        f"{path.name} took {seconds:.0f} s: give it less to do where it knows `FIELDS_QUICK`"
    )
