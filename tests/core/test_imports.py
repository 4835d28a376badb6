"""Imports point one way, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fields"
HEAVY = {"lightning", "matplotlib", "neuralop"}
ALLOWED = {  # module prefix under fields -> heavy libraries that may be imported at its top
    "task": {"lightning"},
    "datamodule": {"lightning"},
    "experiment": {"lightning"},
    "progress": {"lightning"},
    "plot": {"matplotlib"},
}
FILES = ("h5py", "xarray", "h5netcdf")
LAYERS = [  # a module may import from its own layer's package and from layers further down
    {"experiment", "progress", "cli", "report", "__main__"},
    {"task", "datamodule"},
    {"model", "predict", "checkpoint", "verify", "metrics", "losses", "data"},
    {"encoders", "processors", "decoders", "baselines"},
    {"dynamics", "integrators"},
    {"nn"},
    {"operator", "normalizer", "symmetry", "optim"},
    {"part", "sample", "io"},
]
BETWEEN = ({"encoders"}, {"processors"}, {"decoders"})


def modules() -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found.append((name, ast.parse(path.read_text())))
    return found


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
    return names


def at_top(tree: ast.Module) -> list[str]:
    return [name for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)) for name in imported(node)]


def test_import_fields_is_light():
    code = "import fields, sys; print([m for m in ('lightning', 'neuralop', 'matplotlib', 'wandb') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_nothing_in_fields_imports_the_catalogue():
    assert [name for name, tree in modules() if any(i.split(".")[0] == "datasets" for i in imported(tree))] == []


def test_heavy_libraries_stay_in_their_rooms():
    wrong = [
        (name, i)
        for name, tree in modules()
        for i in at_top(tree)
        if i.split(".")[0] in HEAVY and i.split(".")[0] not in ALLOWED.get(name.split(".")[0], set())
    ]
    assert wrong == []


def test_files_are_read_in_io_and_wrapped_in_predict():
    rooms = {"io", "data", "predict", "stream", "operator", "datamodule", "experiment"}
    wrong = [n for n, t in modules() if n.split(".")[0] not in rooms and any(i.split(".")[0] in FILES for i in at_top(t))]
    assert wrong == []


def test_layers_import_downwards_only():
    depth = {name: level for level, names in enumerate(LAYERS) for name in names}
    wrong = []
    for name, tree in modules():
        room = name.split(".")[0]
        for i in at_top(tree):
            parts = i.split(".")
            if parts[0] != "fields" or len(parts) < 2 or room not in depth or parts[1] not in depth:
                continue
            if depth[parts[1]] < depth[room]:
                wrong.append((name, i))
    assert wrong == []


@pytest.mark.parametrize(
    ("room", "others"),
    [("encoders", {"processors", "decoders"}), ("processors", {"encoders", "decoders"}), ("decoders", {"encoders", "processors"})],
)
def test_encoders_processors_decoders_do_not_know_each_other(room, others):
    wrong = [
        (n, i)
        for n, t in modules()
        if n.split(".")[0] == room
        for i in imported(t)
        if i.split(".")[1:2] and i.split(".")[1] in others
    ]
    assert wrong == []
