"""The documentation agrees with the code: tables, messages, settings, examples, and the site."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from functools import cache, reduce
from pathlib import Path

import pytest
from problems import operator, waves
from walking import concrete_subclasses

import fields
import fields.flows
import fields.integrators
from fields.cli import main as cli
from fields.integrators.base import Integrator

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@cache
def literals() -> str:
    """Every string of the program, one a line, with … where a value is put in."""
    out = []
    for path in [ROOT / "train.py", *(ROOT / "fields").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            ):
                out.append(
                    "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)
                )
    return "\n".join(out)


def test_every_message_that_is_explained_is_one_of_the_program():
    quoted = blocks(ROOT / "docs" / "troubleshooting.md", "text")
    assert len(quoted) > 20
    assert [message for message in quoted if message.strip() not in literals()] == []


def test_every_test_that_is_named_exists():
    """`file.py::function` below tests/ names a function of that file; `file.py` alone, a file."""
    text = (ROOT / "docs" / "guarantees.md").read_text()
    files = set(re.findall(r"`([\w/]+\.py)`", text)) | set(re.findall(r"`([\w/]+\.py)::", text))
    assert {name for name in files if not (ROOT / "tests" / name).is_file()} == set()
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", text))
    assert len(named) > 40
    assert {
        (file, name)
        for file, name in named
        if f"def {name}(" not in (ROOT / "tests" / file).read_text()
    } == set()
    assert set(re.findall(r"\b(test_\w+)`", text)) == {name for _, name in named}


def test_the_table_of_laws_is_the_one_in_the_code():
    words = {
        "constant": "energy",
        "increases": "decay",
        "entropy": "metriplectic",
        "range": "maximum",
        "symplectic": "symplectic",
    }
    stated = set(
        re.findall(
            r"^\| `(\w+)` \| `(\w+)` \| (\w+) \|$",
            (ROOT / "docs" / "guarantees.md").read_text(),
            re.MULTILINE,
        )
    )
    kept = {
        (
            method.__name__,
            field.__name__,
            next(word for key, word in reversed(words.items()) if key in law.value),
        )
        for room in (fields.integrators, fields.flows)
        for method in concrete_subclasses(room, Integrator)
        for field, law in method.preserves
    }
    assert stated == kept


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda p: p.stem)
def test_commands_have_the_settings_they_name(page):
    from fields.training.configurations import DEFAULT
    from fields.training.settings import settings_parser

    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        match words:
            case (
                ["python", "train.py", *rest]
                | ["torchrun", _, "train.py", *rest]
                | ["srun", "torchrun", _, "train.py", *rest, "&"]
            ) if "mine.yaml" not in rest:
                settings = [
                    str(ROOT / word) if word.startswith("configs/") else word for word in rest
                ]
                settings_parser().parse_args(["--config", str(DEFAULT), *settings])
            case ["python", "-m", "fields", name, *rest]:
                known = inspect.signature(cli.COMMANDS[name]).parameters
                assert {w.removeprefix("--") for w in rest if w.startswith("--")} <= set(known)
                assert sum(p.default is p.empty and p.name != "out" for p in known.values()) <= len(
                    rest
                )


def test_the_slurm_script_goes_back_into_the_queue_and_resumes(tmp_path):
    """The script itself, with a `scontrol` that takes notes and an `srun` that waits."""
    [script] = [
        block for block in blocks(ROOT / "docs" / "scaling.md", "bash") if "#SBATCH" in block
    ]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    for name, does in (
        ("scontrol", 'echo "$@" >> notes; echo node1; echo node2'),
        ("srun", 'echo "$@" >> notes; exec sleep 20'),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(script)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    job = subprocess.Popen(
        ["bash", "job.sh"], cwd=tmp_path, env=environment, start_new_session=True
    )
    notes = tmp_path / "notes"
    while not notes.is_file() or "torchrun" not in notes.read_text():
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    job.wait(timeout=10)
    os.killpg(job.pid, signal.SIGTERM)  # SLURM ends what the job started
    said = notes.read_text().splitlines()
    assert (
        said[-1] == "requeue 7"
        and "--rdzv-endpoint=node1:29500 train.py" in said[-2]
        and said[-2].endswith("--resume")
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_examples_run(page, tmp_path, monkeypatch):
    """In order, in one namespace per page, beside the files that they name."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "runs/burgers"):
        (tmp_path / folder).mkdir(parents=True)
    burgers = waves(4, (16,), (True,))
    for name in burgers.variables:  # the unit of the shipped model
        burgers[name].attrs["units"] = "1"
    fields.write_dataset(burgers, tmp_path / "data" / "burgers.h5")
    fields.write_dataset(waves(4, (16,), (True,)), tmp_path / "mine.h5")
    model = operator((True,))
    fields.save(model, tmp_path / "runs" / "burgers" / "model.safetensors")
    namespace = {"__name__": "example", "fields": fields, "model": model}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


WRITTEN = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SAVED = re.compile(  # files that a page asks its reader to write
    r"^# ((?:fields|tests)/[\w/]+\.py)$"
    r"|[Ss]aved? as `((?:fields|tests)/[\w/]+\.py)`"
    r"|`((?:fields|tests)/[\w/]+\.py)`:$",
    re.MULTILINE,
)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of the package, or an attribute of one."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ImportError:
            continue
        return reduce(lambda o, part: getattr(o, part, None), parts[i:], found) is not None
    return False


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: p.stem)
def test_files_and_names_that_are_mentioned_exist(page):
    """Except for the files that a page asks its reader to save."""
    text = page.read_text()
    rooms = "benchmarks|configs|datasets|docs|fields|notebooks|tests"
    files = set(re.findall(rf"\b((?:{rooms})/[\w/.-]+\.[a-z]\w+)\b", text))
    saved = {
        file for other in WRITTEN for found in SAVED.findall(other.read_text()) for file in found
    }
    saved.discard("")
    assert {f for f in files - saved if not (ROOT / f).exists()} == set()
    modules = tuple(f.removesuffix(".py").replace("/", ".") for f in saved)
    names = set(re.findall(r"(?<![\w/])(fields(?:\.\w+)+)", text))
    assert {n for n in names if not n.startswith(modules) and not resolves(n)} == set()


def test_the_newest_release_has_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    releases = re.findall(
        r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    version, date = releases[0]
    assert version == project["version"]
    assert releases == sorted(releases, reverse=True)
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {version}" in citation and f'date-released: "{date}"' in citation
    assert f"version = {{{version}}}" in (ROOT / "docs" / "citing.md").read_text()


@cache
def public_classes() -> list[str]:
    """Dotted names of all classes of the package, from its source."""
    out = []
    for path in (ROOT / "fields").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                out.append(f"{module}.{node.name}")
    return out


def test_every_room_is_on_exactly_one_reference_page():
    """A directive shows a room with all its modules, so that a new file needs no entry."""
    shown = [
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)", page.read_text(), re.MULTILINE)
    ]
    rooms = {name.rpartition(".")[0].split(".")[1] for name in public_classes()}
    assert {name.split(".")[1] for name in shown} == rooms
    assert len(shown) == len(set(shown))


def test_docstrings_are_prepared_for_griffe():
    """Several parameters on one line get one entry each; continued lines and nesting stay."""
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location(
        "griffe_extension", ROOT / "docs" / "griffe_extension.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "Args:\n    a, b: one\n        more.\n    c: x, y: z.\n\nExample:\n    >>> 1"
    assert module.expand(text) == (
        "Args:\n    a: one\n        more.\n    b: one\n        more.\n    c: x, y: z.\n\n"
        "Examples:\n    >>> 1"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `.ci/run` builds it. Without `--quiet`, since quiet hides what strict counts."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install -c constraints.txt -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^WARNING", done.stderr, re.MULTILINE)
    return folder


def test_the_site_builds_without_a_warning_or_a_foreign_script(site):
    pages = {path.relative_to(site): path.read_text() for path in site.rglob("*.html")}
    assert len(pages) > 25
    source = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)'
        r'|<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)'
    )
    for path, page in pages.items():
        assert source.findall(page) == [], path
        assert "arithmatex" not in page, f"{path} has an equation that is not rendered"
        assert not re.search(r":(class|meth|func|mod|attr):", page), f"{path} shows a role"
    assert "<math" in pages[Path("guarantees/index.html")]
    assert "Störmer" in pages[Path("guarantees/index.html")]
    assert "EnergyProjectedVerlet" in pages[Path("reference/integrators/index.html")]


def test_every_public_class_is_on_exactly_one_page_of_the_site(site):
    text = "".join(path.read_text() for path in site.rglob("*.html"))
    shown = Counter(re.findall(r'id="(fields\.[\w.]+)"', text))
    assert len(public_classes()) > 200
    assert [(name, shown[name]) for name in public_classes() if shown[name] != 1] == []


def test_a_warning_fails_the_build(tmp_path):
    """The guard itself: an unknown page in the navigation is an error, not a line that scrolls."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install -c constraints.txt -e '.[docs]'")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[gone](nowhere.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: broken\nstrict: true\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "nowhere.md" in done.stderr
