"""The catalogue of problems, where it is installed: missing files and conserved quantities.

The catalogue depends on this package, so this package finds it by name: in a wheel it is called
``bracketfields_datasets``, in a checkout ``datasets``.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

import fields

if TYPE_CHECKING:
    import xarray as xr

# Beside this package in a wheel, and in a checkout.
NAMES = ("bracketfields_datasets", "datasets")


@cache
def catalogue_package() -> ModuleType:
    """The package that holds the catalogue of problems.

    Raises:
        ModuleNotFoundError: there is no catalogue, or another package has its name.

    Example:
        >>> catalogue_package().MARKER
        'bracketfields'
    """
    beside = Path(fields.__file__).parents[1]
    name = next((name for name in NAMES if (beside / name).is_dir()), NAMES[-1])
    package = import_module(name)
    if getattr(package, "MARKER", None) != "bracketfields":
        raise ModuleNotFoundError(
            f"`{name}` is not the catalogue of problems but another package of that name, at "
            f"{package.__file__}. Start the program from the root of the checkout.",
            name=name,
        )
    return package


def make_missing_files(data: Namespace, recipe: dict[str, Any] | None) -> None:
    """Generate the files of ``data.path`` and ``data.test_paths`` that do not exist.

    Args:
        data: settings with ``path`` and ``test_paths``.
        recipe: name of the problem and arguments of its generator; the entries of ``test`` replace
            them for the files of ``test_paths``.

    Raises:
        FileNotFoundError: a file is missing and there is no recipe.
    """
    for path in map(Path, (data.path, *data.test_paths)):
        if path.exists():
            continue
        if recipe is None:
            raise FileNotFoundError(
                f"there is no file {path}. Set data.path, or set `make` to a problem of the "
                f"catalogue (`python -m {catalogue_package().__name__} --help`)."
            )
        chosen = recipe | (recipe.get("test", {}) if str(path) != data.path else {})
        options = [
            word
            for key, value in chosen.items()
            if key not in ("problem", "test")
            for word in (f"--{key}", str(value))
        ]
        print(f"{path} does not exist: generating it.")
        command_line = import_module(f"{catalogue_package().__name__}.__main__")
        command_line.main([recipe["problem"], "--out", str(path), *options])


def lawful_quantities(source: xr.Dataset) -> dict[str, Any]:
    """Conserved and dissipated quantities of the problem that a file was made of, by name.

    Empty for files that are not of the catalogue, and for problems that do not evolve in time.
    """
    package = catalogue_package().__name__
    problem = import_module(f"{package}.__main__").catalogue().get(source.attrs.get("problem", ""))
    if problem is None or not issubclass(problem, import_module(f"{package}.evolution").Evolution):
        return {}
    constants = json.loads(source.attrs["protocol"])["constants"]
    accepted = inspect.signature(problem).parameters
    made = problem(**{name: value for name, value in constants.items() if name in accepted})
    return made.conserved() | made.dissipated()
