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

    A file of the same problem that exists is compared with the recipe: a test file that was made
    with other settings is refused, a training file is used and the difference is printed.

    Raises:
        FileNotFoundError: a file is missing and there is no recipe.
        ValueError: a test file was made with other settings.
    """
    for path in map(Path, (data.path, *data.test_paths)):
        chosen = recipe and recipe | (recipe.get("test", {}) if str(path) != data.path else {})
        if path.exists():
            _check_recipe(path, chosen, is_test=str(path) != data.path)
            continue
        if recipe is None or chosen is None:
            raise FileNotFoundError(
                f"there is no file {path}. Set data.path, or set `make` to a problem of the "
                f"catalogue (`python -m {catalogue_package().__name__} --help`)."
            )
        options = [
            word
            for key, value in chosen.items()
            if key not in ("problem", "test")
            for word in (f"--{key}", str(value))
        ]
        print(f"{path} does not exist: generating it.")
        command_line = import_module(f"{catalogue_package().__name__}.__main__")
        command_line.main([recipe["problem"], "--out", str(path), *options])


def _check_recipe(path: Path, recipe: dict[str, Any] | None, *, is_test: bool) -> None:
    """Compare the recipe that a file states with the one that it would be made with."""
    try:
        attrs = fields.open_dataset(path).attrs
        stored = json.loads(attrs["protocol"])
        made = {**stored["constants"], **stored["run"]}
    except (ValueError, KeyError, TypeError):  # not a file of the catalogue
        return
    if recipe is None or attrs.get("problem") != recipe.get("problem"):
        return
    wanted = json.loads(json.dumps(_resulting_recipe(recipe)))
    changes = [
        f"{key} {made[key]} instead of {value}"
        for key, value in wanted.items()
        if key in made and made[key] != value
    ]
    if not changes:
        return
    said = f"{path} exists and was made with {', '.join(changes)}"
    if is_test:
        raise ValueError(
            f"{said}. Delete it to make it anew, or set `make: null` to test on it as it is."
        )
    print(f"{said}: it is used as it is.")


def _resulting_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Constants of the problem, samples, resolution and seed, with the defaults for those unset."""
    command_line = import_module(f"{catalogue_package().__name__}.__main__")
    kind = command_line.catalogue()[recipe["problem"]]
    accepted = inspect.signature(kind).parameters
    problem = kind(**{key: value for key, value in recipe.items() if key in accepted})
    sizes = {
        "samples": problem.usual_samples(),
        "resolution": problem.resolution,
        "seed": 0,
    }
    return vars(problem) | {key: recipe.get(key, default) for key, default in sizes.items()}


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
