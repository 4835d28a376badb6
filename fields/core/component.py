"""Modules that remember how they were constructed, so that a checkpoint can rebuild them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Self

from torch import nn

from fields.core.moved_names import current_path

# Rooms of this package whose modules hold components. No other module is imported because a
# checkpoint names it: importing `fields.__main__`, for example, runs the command line.
ROOMS = (
    "baselines",
    "decoders",
    "dynamics",
    "encoders",
    "flows",
    "integrators",
    "models",
    "nn",
    "processors",
)


class CheckpointError(ValueError):
    """A file is not a checkpoint that this version can load; the message says why.

    Example:
        >>> issubclass(CheckpointError, ValueError)
        True
    """


class Component(nn.Module):
    """Base class of every exchangeable module; records its constructor's arguments at creation.

    `describe` turns a component into plain values (``class_path`` and ``init_args``, nested
    components included), and `build` constructs it again. The schema and the normalizer are stored
    elsewhere in a checkpoint, so descriptions omit them and `build` is given them.

    Example:
        >>> class Scale(Component):
        ...     def __init__(self, dim: int, *, factor: float = 2.0):
        ...         super().__init__()
        >>> Scale(8).describe()["init_args"]
        {'dim': 8, 'factor': 2.0}
    """

    supplied = ("schema", "normalizer")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments, defaults included.

        Copying and unpickling call this without arguments and restore the record themselves.
        """
        component = super().__new__(cls)
        if args or kwargs:
            bound = inspect.signature(cls.__init__).bind(component, *args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(component, "_arguments", dict(list(bound.arguments.items())[1:]))
        return component

    def describe(self) -> dict[str, Any]:
        """Return the class path and the constructor's arguments as values that JSON can hold.

        Raises:
            TypeError: an argument is an object that cannot be described.
        """
        arguments = getattr(self, "_arguments", {})
        described = {
            name: _plain(value, name, type(self))
            for name, value in arguments.items()
            if name not in self.supplied
        }
        return {"class_path": _path(type(self)), "init_args": described}


def build(description: dict[str, Any], *, trust: Sequence[str] = (), **supplied: Any) -> Any:
    """Construct the component that `Component.describe` described.

    Args:
        description: class path and arguments.
        trust: top-level packages, besides ``fields``, whose classes may be constructed.
        supplied: values for constructors that take them: ``schema`` and ``normalizer``.

    Raises:
        CheckpointError: a class path leads to another package, to a module without components, or
            to something that is not a component.

    Example:
        >>> from fields.processors.transformer import Transformer
        >>> type(build(Transformer(8, depth=1).describe())).__name__
        'Transformer'
    """
    cls = _find_class(str(description.get("class_path")), Component, trust)
    given = description.get("init_args", {})
    arguments = {k: _object(value, trust, supplied) for k, value in given.items()}
    accepted = inspect.signature(cls.__init__).parameters
    return cls(**{key: value for key, value in supplied.items() if key in accepted}, **arguments)


def _find_class(path: str, base: type, trust: Sequence[str]) -> type:
    """The class of a path; nothing but modules of components and trusted packages is imported."""
    module, _, name = current_path(path).rpartition(".")
    package, _, rest = module.partition(".")
    if package not in ("fields", *trust):
        raise CheckpointError(
            f"The file asks for class {path!r}, which is outside `fields`, so loading it would run "
            f"other code. If you trust that code, call `load(..., trust=[{package!r}])`."
        )
    known = package != "fields" or rest.split(".")[0] in ROOMS
    cls = getattr(import_module(module), name, None) if known and _exists(module) else None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise CheckpointError(
            f"The file asks for {path!r}, which is not a component of a model in this version of "
            f"{package}. Update {'bracketfields' if package == 'fields' else package}."
        )
    return cls


def _exists(module: str) -> bool:
    """Whether there is such a module; of it only the packages that contain it are imported."""
    try:
        return (
            all(part.isidentifier() for part in module.split(".")) and find_spec(module) is not None
        )
    except ModuleNotFoundError:
        return False


def _plain(value: Any, name: str, owner: type) -> Any:
    if isinstance(value, Component):
        return value.describe()
    if isinstance(value, (list, tuple)):
        return [_plain(item, name, owner) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    keywords = value.keywords if isinstance(value, partial) else {}
    for cls in (value.func, *value.args) if isinstance(value, partial) else (value,):
        if isinstance(cls, type) and issubclass(cls, nn.Module):  # a factory
            arguments = {key: _plain(item, key, cls) for key, item in keywords.items()}
            return {"factory": _path(cls), "init_args": arguments}
    raise TypeError(
        f"{owner.__name__}({name}=…) got a {type(value).__name__}, which a checkpoint cannot "
        "describe. Pass numbers, strings, tuples, components, or classes of components (with "
        "`functools.partial` for their arguments)."
    )


def _object(value: Any, trust: Sequence[str], supplied: dict[str, Any]) -> Any:
    if isinstance(value, dict) and "class_path" in value:
        return build(value, trust=trust, **supplied)
    if isinstance(value, dict) and "factory" in value:
        arguments = {k: _object(item, trust, supplied) for k, item in value["init_args"].items()}
        return partial(_find_class(value["factory"], nn.Module, trust), **arguments)
    if isinstance(value, list):
        return tuple(_object(item, trust, supplied) for item in value)
    return value


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
