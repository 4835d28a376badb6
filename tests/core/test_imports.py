"""Imports point one way, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

import fields

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fields"
# Every room of the package. A room may import from itself and from rooms further down only, which
# includes imports inside functions and for type checkers.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"training"},
    {"report"},
    {"evaluation"},
    {"plot"},
    {"baselines"},
    {"models"},
    {"inference", "checkpoints"},
    {"encoders", "decoders", "flows"},
    {"processors"},
    {"integrators"},
    {"dynamics"},
    {"nn"},
    {"data"},
    {"io"},
    {"metrics"},
    {"core"},
)
HEAVY = {"lightning", "matplotlib", "neuralop"}
ALLOWED = {"training": {"lightning"}, "data": {"lightning"}, "plot": {"matplotlib"}}
FILES = {"h5py", "xarray", "h5netcdf"}
FILE_ROOMS = {"io", "data", "inference", "models"}


ROOT_FILES = {"__init__.py", "__main__.py", "py.typed"}


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(module: str, tree: ast.AST) -> list[str]:
    """Everything that is imported anywhere in the module, as absolute names."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def arrows() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, lazily or not."""
    known = modules()
    out: dict[str, set[str]] = {name: set() for name in known}
    for name, tree in known.items():
        for target in imported(name, tree):
            parts = target.split(".")
            if parts[0] != "fields":
                continue
            for length in range(len(parts), 0, -1):
                path = ".".join(parts[1:length])
                found = next(
                    (m for m in (path, f"{path}.__init__".lstrip(".")) if m in known), None
                )
                if found is not None:
                    out[name].add(found)
                    break
    return out


def room(module: str) -> str:
    return module.split(".")[0]


def test_import_fields_is_light():
    code = (
        "import fields, sys; assert fields.__version__ and 'load' in dir(fields); "
        "print([m for m in ('lightning', 'neuralop', 'matplotlib', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    assert fields.__version__ == metadata.version("bracketfields")

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert fields.__version__ == "unknown"


def test_every_public_name_can_be_imported():
    assert all(getattr(fields, name) is not None for name in fields.__all__)
    with pytest.raises(AttributeError, match="public names are"):
        _ = fields.nothing


def test_typed_signatures_in_the_package_are_the_true_ones():
    """`load` and `from_pretrained` are declared in `fields/__init__.py` with their return type."""
    known = modules()
    declared = {n.name: n for n in ast.walk(known["__init__"]) if isinstance(n, ast.FunctionDef)}
    for module, name in (("checkpoint", "load"), ("hub", "from_pretrained")):
        body = known[f"checkpoints.{module}"].body
        true = next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == name)
        assert ast.unparse(declared[name].args) == ast.unparse(true.args)


def test_the_root_holds_three_files():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == ROOT_FILES


def test_no_public_name_has_two_meanings():
    places: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_every_room_has_its_place():
    rooms = {room(name) for name in modules()} - {"__init__"}
    assert rooms == set().union(*LAYERS)


def test_imports_point_downwards_lazy_ones_too():
    depth = {name: level for level, names in enumerate(LAYERS) for name in names}
    wrong = [
        f"{source} -> {target}"
        for source, targets in arrows().items()
        for target in targets
        if source != "__init__" and target != "__init__"
        if room(source) != room(target) and depth[room(target)] <= depth[room(source)]
    ]
    assert wrong == []


def test_no_circles():
    graph = {
        name: {target for target in targets if not target.endswith("__init__")}
        for name, targets in arrows().items()
        if not name.endswith("__init__")
    }
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_nothing_in_fields_imports_the_catalogue():
    names = {"datasets", "bracketfields_datasets"}
    wrong = [n for n, t in modules().items() if any(room(i) in names for i in imported(n, t))]
    assert wrong == []


def test_heavy_libraries_stay_in_their_rooms():
    wrong = [
        (name, target)
        for name, tree in modules().items()
        for target in imported(name, ast.Module(tree.body, []))
        if room(target) in HEAVY - ALLOWED.get(room(name), set())
        and any(
            isinstance(s, ast.Import | ast.ImportFrom) and target in imported(name, s)
            for s in tree.body
        )
    ]
    assert wrong == []


def test_files_are_read_in_io_and_wrapped_in_inference():
    wrong = [
        name
        for name, tree in modules().items()
        if room(name) not in FILE_ROOMS
        and any(
            room(target) in FILES
            for statement in tree.body
            if isinstance(statement, ast.Import | ast.ImportFrom)
            for target in imported(name, statement)
        )
    ]
    assert wrong == []
