"""Modules that remember how they were made, so that a checkpoint can rebuild them."""

from __future__ import annotations

import inspect
from functools import partial
from importlib import import_module
from typing import Any, Self

from torch import nn


class Component(nn.Module):
    """Base of every exchangeable module: records its constructor's arguments, given or default, at creation.

    ``describe`` turns a part into plain values (``class_path`` and ``init_args``, parts within
    parts included) and ``build`` makes it again. The schema and the normalizer have their own
    places in a checkpoint: they are left out and supplied again.
    """

    supplied = ("schema", "normalizer")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Notes the arguments; copying and unpickling come here with none and restore the note themselves."""
        part = super().__new__(cls)
        if args or kwargs:
            bound = inspect.signature(cls.__init__).bind(part, *args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(part, "_arguments", dict(list(bound.arguments.items())[1:]))
        return part

    def describe(self) -> dict[str, Any]:
        """Class path and arguments as values that JSON can hold."""
        arguments = getattr(self, "_arguments", {})
        kept = {
            name: _plain(value, name, type(self))
            for name, value in arguments.items()
            if name not in self.supplied
        }
        return {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "init_args": kept,
        }


def build(description: dict[str, Any], **supplied: Any) -> Any:
    """The part that ``describe`` described, from classes inside ``fields`` alone.

    Raises:
        ValueError: the class path leads elsewhere, which a checkpoint must not be able to do.
    """
    cls = _class(description["class_path"], Component)
    arguments = {key: _made(value, supplied) for key, value in description["init_args"].items()}
    accepted = inspect.signature(cls.__init__).parameters
    return cls(**{key: value for key, value in supplied.items() if key in accepted}, **arguments)


def _class(path: str, base: type) -> type:
    module, _, name = path.rpartition(".")
    if not module.startswith("fields."):
        raise ValueError(
            f"The file asks for class {path!r}, outside `fields`, and loading runs no foreign code."
        )
    cls = getattr(import_module(module), name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(
            f"The file asks for {path!r}, which is no part of a model in this version of bracketfields. Update it."
        )
    return cls


def _plain(value: Any, name: str, owner: type) -> Any:
    if isinstance(value, Component):
        return value.describe()
    if isinstance(value, (list, tuple)):
        return [_plain(item, name, owner) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    given = (
        [value]
        if isinstance(value, type)
        else [value.func, *value.args]
        if isinstance(value, partial)
        else []
    )
    for cls in given:
        if isinstance(cls, type) and issubclass(
            cls, nn.Module
        ):  # a class, or one with some arguments given: a factory
            keywords = value.keywords if isinstance(value, partial) else {}
            arguments = {key: _plain(item, key, cls) for key, item in keywords.items()}
            return {"factory": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}
    raise TypeError(
        f"{owner.__name__}({name}=…) got a {type(value).__name__}, which a checkpoint cannot describe. "
        "Pass numbers, strings, tuples, parts, or classes of parts (with `functools.partial` for their arguments)."
    )


def _made(value: Any, supplied: dict[str, Any]) -> Any:
    if isinstance(value, dict) and "class_path" in value:
        return build(value, **supplied)
    if isinstance(value, dict) and "factory" in value:
        arguments = {key: _made(item, supplied) for key, item in value["init_args"].items()}
        return partial(_class(value["factory"], nn.Module), **arguments)
    return tuple(_made(item, supplied) for item in value) if isinstance(value, list) else value
