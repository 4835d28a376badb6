"""Finds the components of a room, so that a new one is tested without editing a list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

import pytest

T = TypeVar("T")


def concrete_subclasses(room: ModuleType, base: type[T]) -> list[type[T]]:
    """All classes below ``base`` without abstract methods in the modules of a package, by name."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
    }
    return sorted(found, key=lambda cls: cls.__name__)


def each(room: ModuleType, base: type, *more) -> pytest.MarkDecorator:
    """Runs a test for every such class (argument ``cls``), and for ``more`` parameters."""
    found = [pytest.param(cls, id=cls.__name__) for cls in concrete_subclasses(room, base)]
    return pytest.mark.parametrize("cls", [*found, *more])
