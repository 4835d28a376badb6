"""The examples of the README and the guide, saved verbatim, pass the conformance tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFORMANCE = "tests/processors/test_conformance.py"
TESTS = ["helpers", "flows", "processors", "walking.py", "conftest.py"]


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and of the tests of processors and flows."""
    skip = shutil.ignore_patterns("__pycache__", "pretrained", "*.safetensors")
    shutil.copytree(ROOT / "fields", tmp_path / "fields", ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    for name in TESTS:
        source = ROOT / "tests" / name
        target = tmp_path / "tests" / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def example(page: str, first_line: str) -> str:
    """The Python block of a page that starts with this line."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return next(block for block in blocks if block.startswith(first_line))


def run(tree: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tree, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_processor_of_the_readme(tree):
    path = tree / "fields" / "processors" / "mixer.py"
    path.write_text(example("README.md", '"""Mean-field mixing'))
    run(tree, "ruff", "check", str(path))
    run(tree, "ruff", "format", "--check", str(path))
    out = run(tree, "pytest", "-p", "no:cacheprovider", CONFORMANCE, "-k", "Mixer")
    assert int(re.search(r"(\d+) passed", out).group(1)) >= 9


@pytest.mark.slow
def test_the_law_of_the_guide(tree):
    path = tree / "fields" / "flows" / "sine_gordon.py"
    path.write_text(example("docs/extending.md", 'r"""Damped sine-Gordon'))
    run(tree, "ruff", "check", str(path))
    run(tree, "ruff", "format", "--check", str(path))
    walks = [f"tests/flows/test_{name}.py" for name in ("energies", "fields", "integrators")]
    tests = [CONFORMANCE, *walks, "fields/flows/sine_gordon.py"]
    out = run(
        tree,
        "pytest",
        "-p",
        "no:cacheprovider",
        "--override-ini",
        "addopts=--strict-markers",
        "--doctest-modules",
        *tests,
        "-k",
        "SineGordon or sine_gordon",
    )
    assert int(re.search(r"(\d+) passed", out).group(1)) >= 30
