"""The readers of file layouts. A reader in a module of this package is found by walking it."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from inspect import isabstract

from fields.io.base import Reader


@cache
def all_readers() -> tuple[Reader, ...]:
    """One instance of every reader in this package, in the order in which they are asked.

    The order is that of decreasing :class:`~fields.io.base.Specificity`, then of module and class
    names.

    Example:
        >>> all_readers()[0].layout
        'bracketfields'
    """
    readers = []
    for module_info in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = import_module(module_info.name)
        for _, cls in sorted(vars(module).items()):
            defined_here = isinstance(cls, type) and cls.__module__ == module.__name__
            if defined_here and issubclass(cls, Reader) and not isabstract(cls):
                readers.append(cls())
    return tuple(sorted(readers, key=lambda reader: -reader.specificity))
