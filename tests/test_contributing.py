"""CONTRIBUTING.md, the workflows and the version files agree with the code."""

from __future__ import annotations

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> dict[str, Requirement]:
    """Every requirement of the package and of its extras, by normalized name."""
    extras = PROJECT["optional-dependencies"].values()
    words = chain(PROJECT["dependencies"], *extras)
    return {normalized(found.name): found for found in map(Requirement, words)}


def constraints(name: str) -> dict[str, Version]:
    """The versions of a constraints file, by normalized name."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalized(name): Version(version) for name, version in pairs}


def normalized(name: str) -> str:
    return name.lower().replace("_", "-")


def test_rooms_are_listed_in_the_order_of_imports(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "core"))
    monkeypatch.delitem(sys.modules, "test_imports", raising=False)
    from test_imports import LAYERS

    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = text[text.index("```\ncli") + 4 :].partition("\n```")[0]
    listed = [set(re.split(r" {2,}", line)[0].split()) for line in tree.splitlines()]
    assert listed == [names for names in LAYERS if names != {"__main__"}]


def test_pinned_and_lowest_versions_satisfy_the_requirements():
    known = requirements()
    pinned = constraints("constraints.txt")
    lowest = constraints("constraints-lowest.txt")
    for versions in (pinned, lowest):
        wrong = [
            f"{name} {version}"
            for name, version in versions.items()
            if name in known and version not in known[name].specifier
        ]
        assert wrong == []
    bounds = {
        name: next((Version(s.version) for s in found.specifier if s.operator == ">="), None)
        for name, found in known.items()
    }
    untested = {"torch", "ruff", "pyright"}  # lower versions of these are not tested
    assert {n: v for n, v in lowest.items() if bounds.get(n) not in (None, v)}.keys() <= untested


def test_workflows_run_the_test_script_on_every_supported_version():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    tests = flow["jobs"]["tests"]
    pythons = tests["strategy"]["matrix"]["python"]
    assert pythons[0] == PROJECT["requires-python"].removeprefix(">=")
    stated = {c.rpartition(" ")[2] for c in PROJECT.get("classifiers", ()) if "Python :: 3." in c}
    assert not stated or stated == set(pythons)
    assert "bash .ci/run" in [step.get("run") for step in tests["steps"]]
    for path in ROOT.glob(".github/**/*.yml"):
        assert yaml.safe_load(path.read_text()), path
