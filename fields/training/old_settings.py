"""Settings written for version 0.1, in present names: keys and class paths of YAML and options.

The names themselves are in :mod:`fields.core.moved_names`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from fields.core.moved_names import ARGUMENTS, MOVED, current_path

# Version 0.1 found a class without its path in the package of the key that it was given to.
PACKAGES = {
    "encoder": "fields.encoders",
    "decoder": "fields.decoders",
    "processor": "fields.processors",
    "propagator": "fields.evolution",
    "integrator": "fields.integrators",
    "field": "fields.dynamics",
    "energy": "fields.dynamics",
}


def current_settings(value: Any, key: str = "") -> Any:
    """Loaded YAML in present names; a ``FutureWarning`` names each name that has changed.

    Args:
        value: a whole configuration, or the value of one key.
        key: the key that the value was given to.

    Example:
        >>> current_settings({"class_path": "fields.processors.GAT", "init_args": {"depth": 4}})
        {'class_path': 'fields.processors.GAT', 'init_args': {'depth': 4}}
    """
    if isinstance(value, str):
        short = f"{PACKAGES.get(key, '')}.{value}"
        return current_path(short if short in MOVED else value)
    if isinstance(value, list):
        return [current_settings(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    if key == "model":
        value = _renamed(value, {"local": "skip"})
    if isinstance(value.get("class_path"), str):
        path = current_settings(value["class_path"], key)
        value = {**value, "class_path": path}
    else:
        path = ""
    if isinstance(value.get("init_args"), dict):
        names = ARGUMENTS[""] | ARGUMENTS.get(path.rsplit(".", 1)[-1], {})
        value = {**value, "init_args": _renamed(value["init_args"], names)}
    return {
        name: item if name == "class_path" else current_settings(item, str(name))
        for name, item in value.items()
    }


def current_words(words: Sequence[str]) -> list[str]:
    """Words of a command line in present names: keys, and values that are class paths.

    Example:
        >>> current_words(["--model.dim=64", "--resume"])
        ['--model.dim=64', '--resume']
    """
    out: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            name = _current_option(name)
        elif not equals and out and out[-1].startswith("--"):  # the value of the word before
            name = current_settings(word, out[-1].rsplit(".", 1)[-1])
        key = next(
            (k for k in reversed(name.split(".")) if k not in ("init_args", "class_path")), ""
        )
        out.append(f"{name}{equals}{current_settings(value, key.lstrip('-'))}")
    return out


def _current_option(option: str) -> str:
    """An option such as ``--model.decoder.near`` in present names."""
    keys = option.split(".")
    if keys[:2] == ["--model", "local"]:
        keys[1] = "skip"
    names = ARGUMENTS[""] | ARGUMENTS["MetricHamiltonianField"]
    if "field" in keys or "energy" in keys:  # encoders have an argument `reach` to this day
        names |= ARGUMENTS["LocalEnergy"]
    keys[1:] = [names.get(key, key) for key in keys[1:]]
    new = ".".join(keys)
    if new != option:
        _warn(option, new)
    return new


def _renamed(arguments: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    for old in names.keys() & arguments.keys():
        _warn(old, names[old])
    return {names.get(name, name): value for name, value in arguments.items()}


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"`{old}` is now called `{new}`. Please use the new name.", FutureWarning, stacklevel=3
    )
