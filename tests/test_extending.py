"""Examples of docs/extending.md that begin with a path below fields/, in a copy of the tree.

Each is saved verbatim under that path. The conformance tests of the room must find it and pass, and
ruff must accept it as it stands.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"^```python\n# (fields/(\w+)/\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# By room: its conformance tests, and how many of them run for each class at least.
CONFORMANCE = {
    "encoders": ("tests/encoders/test_encoder_conformance.py", 30),
    "decoders": ("tests/decoders/test_decoder_conformance.py", 15),
}
PAGE = (ROOT / "docs" / "extending.md").read_text()
EXAMPLES = [example for example in EXAMPLE.findall(PAGE) if example[1] in CONFORMANCE]
# Reads the settings of train.py as it does.
PARSE = """
import sys
from fields.training.configurations import DEFAULT
from fields.training.settings import settings_parser
settings_parser().parse_args(["--config", str(DEFAULT), *sys.argv[1:]])
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the package without its checkpoints, its tests and its settings."""
    for name, left_out in (("fields", ["pretrained"]), ("tests", []), ("configs", [])):
        skip = shutil.ignore_patterns("__pycache__", *left_out)
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *command: str) -> str:
    """What Python prints in the copy when it is called in this way; it must not fail."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_an_example_for_every_room():
    assert {room for _, room, _ in EXAMPLES} == set(CONFORMANCE)


@pytest.mark.parametrize(("path", "room", "code"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_an_example_saved_verbatim_passes_the_conformance_tests(tree, path, room, code):
    assert not (tree / path).exists()
    (tree / path).write_text(code)
    [name] = re.findall(r"^class (\w+)", code, re.MULTILINE)
    tests, least = CONFORMANCE[room]
    output = run(tree, "-m", "pytest", "-p", "no:cacheprovider", tests, "-k", name)
    passed = re.search(r"(\d+) passed", output)
    assert passed and int(passed[1]) >= least, output
    run(tree, "-m", "ruff", "check", path)
    run(tree, "-m", "ruff", "format", "--check", path)
    [option] = re.findall(rf"`(--model\.\w+) (\S+\.{name})`", PAGE)
    run(tree, "-c", PARSE, *option)
