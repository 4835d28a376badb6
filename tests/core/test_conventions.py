"""Conventions of the source: annotations, docstrings, examples, one assignment a line, sizes."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in sorted((ROOT / "fields").rglob("*.py"))
}
SOURCES = PACKAGE | {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in sorted([ROOT / "train.py", *(ROOT / "datasets").rglob("*.py")])
}
LONGEST_FUNCTION = 60


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions, methods and classes, and special methods such as ``__call__``."""
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.ClassDef):
            continue
        if child.name.startswith("_") and not child.name.endswith("__"):
            continue
        yield child
        if isinstance(child, ast.ClassDef):
            yield from public(child)


def lacks_annotations(function: ast.FunctionDef) -> bool:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    bare = [a for a in named if a and a.annotation is None and a.arg not in ("self", "cls")]
    return bool(bare) or (function.returns is None and function.name != "__init__")


def independent_values(node: ast.AST) -> bool:
    """Whether this is ``a, b = x, y`` and could be two lines, because y does not read a."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or len(target.elts) != len(node.value.elts):
        return False
    names = {ast.unparse(item) for item in target.elts[:-1]}
    read = {ast.unparse(part) for item in node.value.elts[1:] for part in ast.walk(item)}
    return not names & read


@pytest.mark.parametrize("file", PACKAGE)
def test_public_code_is_annotated_and_documented(file):
    found = list(public(PACKAGE[file]))
    functions = [one for one in found if isinstance(one, ast.FunctionDef)]
    assert [one.name for one in functions if lacks_annotations(one)] == []
    short = [one.name for one in found if 0 < len((ast.get_docstring(one) or "").split()) < 4]
    assert short == [], "such a docstring says nothing that the name does not say"
    classes = [one for one in PACKAGE[file].body if one in found and isinstance(one, ast.ClassDef)]
    assert [one.name for one in classes if ">>>" not in (ast.get_docstring(one) or "")] == []


@pytest.mark.parametrize("file", SOURCES)
def test_one_assignment_a_line_and_short_functions(file):
    nodes = list(ast.walk(SOURCES[file]))
    assert [ast.unparse(node) for node in nodes if independent_values(node)] == []
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    sizes = {one.name: (one.end_lineno or one.lineno) - one.lineno + 1 for one in functions}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION} == {}


def test_no_public_name_is_defined_twice():
    names = [
        node.name
        for tree in PACKAGE.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_lines_outside_of_modules_have_at_most_100_columns():
    """Ruff checks the modules; notebooks, configurations and workflows are checked here."""
    texts = {
        path: path.read_text().splitlines()
        for folder in (".", "configs", "benchmarks", ".github")
        for suffix in ("yml", "yaml", "toml")
        for path in (ROOT / folder).glob(f"{'*' if folder == '.' else '**/*'}.{suffix}")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
        lines = "\n".join(cells).splitlines()
        texts[path] = [line for line in lines if not line.startswith("|")]  # a row of a table
    assert len(texts) > 20
    long = {
        str(path.relative_to(ROOT)): line
        for path, lines in texts.items()
        for line in lines
        if len(line) > 100
    }
    assert long == {}


def prose(text: str) -> Iterator[str]:
    """The lines of a page outside of code, tables, formulas, headings of files, and HTML."""
    inside = False
    for line in text.splitlines():
        if line.startswith(("```", "$$", "---")):
            inside = not inside and not (line.startswith("$$") and line.count("$$") == 2)
        elif not inside and not line.startswith(("|", "!", "<")):
            yield line


def test_lines_of_pages_have_at_most_100_columns():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    long = [(page.name, line) for page in pages for line in prose(page.read_text())]
    assert [item for item in long if len(item[1]) > 100] == []


def test_conventions_are_noticed():
    def function(text: str) -> ast.FunctionDef:
        node = ast.parse(text).body[0]
        assert isinstance(node, ast.FunctionDef)
        return node

    assert lacks_annotations(function("def step(t, dt: float) -> float: ..."))
    assert lacks_annotations(function("def step(t: float): ..."))
    assert not lacks_annotations(function("def __init__(self, t: float): ..."))
    assert independent_values(ast.parse("a, self.b = 1, 2").body[0])
    assert not independent_values(ast.parse("a, b = b, a").body[0])
    assert not independent_values(ast.parse("a, b = pair").body[0])
