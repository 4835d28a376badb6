"""Notebooks keep their outputs, leave the path alone, and run from start to end when shortened."""

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
BYTES = 1_000_000  # of a notebook with its figures
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_does_not_change_the_path(path):
    """An editable install puts the root of the checkout on the path."""
    assert "sys.path" not in "".join("".join(cell["source"]) for cell in code(path))


def test_the_repository_is_found_from_wherever_the_kernel_starts(tmp_path, monkeypatch):
    """Notebooks that read files of the repository find it through the package."""
    monkeypatch.chdir(tmp_path)
    found = []
    for path in NOTEBOOKS:
        lines = "".join(code(path)[0]["source"]).splitlines()
        for line in (line for line in lines if line.startswith("ROOT = ")):
            namespace = {"Path": Path, "fields": fields}
            exec(line, namespace)
            found.append(namespace["ROOT"])
    assert found and set(found) == {ROOT}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_and_its_claims_hold(path):
    """As a reader runs it, but with less training and fewer samples under `FIELDS_QUICK`."""
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
        "PYTHONPATH": str(ROOT),  # as an editable install of this checkout
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    before = os.times()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = sum(after[2:4]) - sum(before[2:4])  # of the children, user and system
    assert seconds < SECONDS, f"{path.name} took {seconds:.0f} s: shorten it under `FIELDS_QUICK`"
