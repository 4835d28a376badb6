"""The reader in docs/extending.md, saved verbatim in a copy of the sources, passes all tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ("test_every_layout.py", "test_laziness.py", "test_mutations.py")


def saved_blocks():
    """The blocks of the page that the next text says to save, by path."""
    page = (ROOT / "docs" / "extending.md").read_text()
    section = page[page.index("## A reader") :]
    section = section[: section.index("\n## ", 1)]
    return {
        path: block
        for block, path in re.findall(
            r"^```py(?:thon)?\n(.*?)^```\n\nSaved as `([^`]+)`", section, re.MULTILINE | re.DOTALL
        )
    }


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The sources and the tests of io, without pretrained models."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("pretrained", "__pycache__")
    shutil.copytree(ROOT / "fields", root / "fields", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "io", root / "tests" / "io", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def pytest_in(root, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_the_reader_of_the_page_passes_the_tests_of_every_layout(copied):
    blocks = saved_blocks()
    assert list(blocks) == ["fields/io/readers/beams.py", "tests/io/layouts/beams.py"]
    reader, example = blocks
    (copied / reader).write_text(blocks[reader])
    without = pytest_in(copied, "tests/io/test_every_layout.py", "-k", "beams")
    assert without.returncode == 1 and "Add tests/io/layouts/beams.py" in without.stdout
    (copied / example).write_text(blocks[example])
    done = pytest_in(copied, *(f"tests/io/{name}" for name in TESTS), "-k", "beams", "-vvv")
    assert done.returncode == 0, done.stdout
    for test in (
        "test_every_reader_has_an_example",
        "test_the_most_specific_reader_is_the_only_one",
        "test_xarray_opens_it_with_its_engine",
        "test_it_is_described_validated_and_repacked",
        "test_opening_reads_no_field",
        "test_every_field_is_a_lazy_array",
        "test_bytes",
        "test_missing_parts",
    ):
        assert f"{test}[beams" in done.stdout or f"{test}[10-beams" in done.stdout, test


def test_the_files_of_the_page_pass_ruff(copied):
    if shutil.which("ruff") is None and not (Path(sys.executable).parent / "ruff").exists():
        pytest.skip("ruff is not installed: pip install -e '.[test]'")
    ruff = shutil.which("ruff") or str(Path(sys.executable).parent / "ruff")
    for path, block in saved_blocks().items():
        (copied / path).write_text(block)
        for command in (
            ["check"],
            ["check", "--select", "E501", "--ignore-noqa"],
            ["format", "--check"],
        ):
            done = subprocess.run(
                [ruff, *command, path], cwd=copied, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{path}: {done.stdout}{done.stderr}"
