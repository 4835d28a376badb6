"""What a checkpoint from elsewhere may ask for: checks before a model is built and after loading.

The header of a checkpoint describes a model that is then constructed. A damaged or hostile header
could ask for 10⁹ layers or 10⁵ tokens. Its values are checked first; then the model is constructed
without memory, on torch's device `meta`, and its tensors are compared with the stored ones.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks

from fields.core.component import CheckpointError, build
from fields.core.sample import Schema
from fields.data.normalizer import OPTIONAL_BUFFERS, ROLES, Normalizer

MAX_NESTING = 64
MAX_INTEGER = 2**14
MAX_PRODUCT = 2**20  # of a list of integers, such as tokens per axis
MAX_NAMES = 1000  # variables times frames of history
TOKENS_PER_POINT = 16  # per axis, of the training grid

# Modules and parameters that may be constructed for each stored tensor, and at least.
CONSTRUCTED = 50
CONSTRUCTED_AT_LEAST = 2000

# Bytes of parameters and buffers for each byte of the file, and at least.
MEMORY = 8
MEMORY_AT_LEAST = 2**28

OPTIONAL = {f"{role}_{name}" for role in ROLES for name in OPTIONAL_BUFFERS}

# The normalizer's tables of missing values, which check their own shapes.
MISSING = {f"normalizer.missing.{name}" for name in ("axes", "inputs", "outputs")}


class MalformedError(CheckpointError):
    """What is wrong with a checkpoint; `fields.load` adds which file it is and what to do.

    Example:
        >>> str(MalformedError("its header has no 'model'"))
        "its header has no 'model'"
    """


def check_header(header: Any) -> None:
    """Check that a header has the right entries and reasonable sizes.

    Raises:
        MalformedError: it does not.

    Example:
        >>> check_header({"format": 2})
        Traceback (most recent call last):
        fields.checkpoints.limits.MalformedError: its header has no 'model'
    """
    _check_nesting(header)
    for key, kind in (("format", int), ("model", dict), ("schema", dict), ("card", dict)):
        if not isinstance(header, dict) or key not in header:
            raise MalformedError(f"its header has no {key!r}")
        if not isinstance(header[key], kind) or isinstance(header[key], bool):
            raise MalformedError(f"{key!r} in its header is a {type(header[key]).__name__}")
    _check_numbers(header["model"], "model")


def read_schema(values: dict[str, Any]) -> Schema:
    """The schema of a header.

    Raises:
        MalformedError: an entry is missing, unknown, or of another type or size.
    """
    _check_numbers(values.get("history", 1), "history")
    try:
        schema = Schema.from_dict(values)
    except KeyError as error:
        raise MalformedError(f"its schema has no {error}") from None
    except Exception as error:
        raise MalformedError(f"its schema is not one of this version ({_first(error)})") from None
    whole = [schema.history, *(schema.grid or ())]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in whole):
        raise MalformedError("history and grid of its schema are not positive integers")
    if schema.grid is not None and len(schema.grid) != schema.dim:
        raise MalformedError(f"the grid of its schema has {len(schema.grid)} axes")
    if schema.dt is not None and not (isinstance(schema.dt, float | int) and schema.dt > 0):
        raise MalformedError(f"the time step of its schema is {_first(schema.dt)}")
    if not all(isinstance(flag, bool) for flag in (*schema.periodic, *schema.homogeneous)):
        raise MalformedError("`periodic` and `homogeneous` of its schema are not true or false")
    units = schema.units.items() if isinstance(schema.units, dict) else [(0, 0)]
    if not all(isinstance(text, str) for pair in units for text in pair):
        raise MalformedError("the units of its schema are not text")
    names = (*schema.inputs, *schema.outputs, *schema.params, *schema.coords)
    if len(names) * schema.history > MAX_NAMES:
        raise MalformedError(f"its schema has more than {MAX_NAMES} channels")
    if not all(isinstance(name, str) for name in names):
        raise MalformedError("names in its schema are not text")
    for low, high in schema.bounds:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise MalformedError(f"a coordinate of its schema has the bounds {low} and {high}")
    return schema


def build_checked(
    description: dict[str, Any],
    schema: Schema,
    stored: Mapping[str, tuple[list[int], torch.dtype]],
    trust: Sequence[str] = (),
) -> nn.Module:
    """Construct a model whose tensors are those that are stored.

    Args:
        description: of the model.
        schema: of the problem.
        stored: shape and type of each stored tensor.
        trust: packages whose components may be constructed.

    Raises:
        MalformedError: the description is not that of a model with these tensors.
    """
    _check_tokens(description, schema)
    with _limited(len(stored)):
        try:
            with torch.device("meta"):
                skeleton = _construct(description, schema, trust)
        except CheckpointError:
            raise
        except (NotImplementedError, RuntimeError, TypeError):
            skeleton = None  # a constructor of a trusted package that computes with values
        except Exception as error:
            raise MalformedError(_cannot_build(error)) from error
        if skeleton is not None:
            compare_tensors(skeleton, stored)
        try:
            model = _construct(description, schema, trust)
        except (CheckpointError, ModuleNotFoundError):
            raise
        except Exception as error:
            raise MalformedError(_cannot_build(error)) from error
    compare_tensors(model, stored)
    return model


def compare_tensors(model: nn.Module, stored: Mapping[str, tuple[list[int], torch.dtype]]) -> None:
    """Compare names, shapes and types of a model's tensors with the stored ones.

    Raises:
        MalformedError: they differ, or the model takes much more memory than the file.
    """
    made = model.state_dict()
    missing = sorted(set(made) - set(stored))
    extra = sorted(key for key in set(stored) - set(made) if not _is_optional(key))
    if missing or extra:
        word, name = ("lacks", missing[0]) if missing else ("has", extra[0])
        count = len(missing) or len(extra)
        raise MalformedError(
            f"it {word} the tensor {name!r}"
            + (f" and {count - 1} others" if count > 1 else "")
            + (" of" if missing else ", which is not one of")
            + " the model that its header describes"
        )
    for name, value in made.items():
        shape, dtype = stored[name]
        if list(value.shape) != list(shape):
            raise MalformedError(
                f"its tensor {name!r} has the shape {tuple(shape)}, but the model that its header "
                f"describes needs {tuple(value.shape)}"
            )
        if dtype != value.dtype and not (dtype.is_floating_point and value.is_floating_point()):
            raise MalformedError(f"its tensor {name!r} has the type {dtype}, not {value.dtype}")
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(value.numel() * value.element_size() for value in tensors)
    in_file = sum(math.prod(shape) * dtype.itemsize for shape, dtype in stored.values())
    if size > max(MEMORY_AT_LEAST, MEMORY * in_file):
        raise MalformedError(f"the model that its header describes takes {size:.1e} bytes")


def check_weight_values(model: nn.Module) -> None:
    """Check that all tensors are finite and that all standard deviations are positive.

    Raises:
        MalformedError: they are not.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise MalformedError(f"its tensor {name!r} holds values that are not finite")
    for normalizer in (m for m in model.modules() if isinstance(m, Normalizer)):
        for name, value in normalizer.named_buffers():
            positive = name.endswith(("_std", "_stds", "extent"))
            if positive and not bool((value > 0).all()):
                raise MalformedError(f"its statistic {name!r} is not positive")


def _construct(description: dict[str, Any], schema: Schema, trust: Sequence[str]) -> nn.Module:
    names = (*schema.inputs, *schema.outputs, *schema.params)
    # The true statistics are buffers of the normalizer and are loaded with the weights.
    normalizer = Normalizer(schema, dict.fromkeys(names, (0.0, 1.0)))
    model: nn.Module = build(description, trust=trust, schema=schema, normalizer=normalizer)
    return model


def _check_nesting(value: Any) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = [v.values() if isinstance(v, dict) else v for v in level]
        level = [item for items in inner if not isinstance(items, str)
                 and hasattr(items, "__iter__") for item in items]  # fmt: skip
        if not level:
            return
    raise MalformedError(f"its header is nested more than {MAX_NESTING} levels deep")


def _check_numbers(value: Any, key: str) -> None:
    """Check all numbers in a description, whose nesting is already known to be limited."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, str(name))
    elif isinstance(value, list):
        whole = [item for item in value if isinstance(item, int)]
        if math.prod(max(1, abs(item)) for item in whole[:MAX_NESTING]) > MAX_PRODUCT:
            raise MalformedError(f"its {key!r} is {_first(value)}, more than {MAX_PRODUCT} in all")
        for item in value:
            _check_numbers(item, key)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise MalformedError(f"its {key!r} is {_first(value)}, more than {MAX_INTEGER}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise MalformedError(f"its {key!r} is {value}")


def _check_tokens(value: Any, schema: Schema) -> None:
    """Check that no component has many more tokens per axis than the training grid has points."""
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            _check_tokens(item, schema)
    tokens = value.get("tokens") if isinstance(value, dict) else None
    if not isinstance(tokens, list) or schema.grid is None or len(tokens) != len(schema.grid):
        return
    for count, points in zip(tokens, schema.grid, strict=True):
        if isinstance(count, int) and count > max(64, TOKENS_PER_POINT * points):
            raise MalformedError(
                f"its 'tokens' are {tokens}, but it was trained on a grid of {list(schema.grid)}"
            )


@contextmanager
def _limited(stored: int) -> Iterator[None]:
    """Stop a construction in this thread that registers far more than what is stored."""
    thread = threading.get_ident()
    limit = CONSTRUCTED_AT_LEAST + CONSTRUCTED * stored
    count = 0

    def registered(owner: nn.Module, name: str, item: Any) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > limit:
                raise MalformedError(
                    f"the model that its header describes has more than {limit} modules, but "
                    f"{stored} tensors are stored"
                )

    handles = [
        hooks.register_module_module_registration_hook(registered),
        hooks.register_module_parameter_registration_hook(registered),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _cannot_build(error: Exception) -> str:
    return (
        f"the model that its header describes cannot be built by this version of bracketfields "
        f"({_first(error)})"
    )


def _first(value: Any) -> str:
    """The start of the first line of a value's text."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    lines = str(value).splitlines() or [type(value).__name__]
    text = f"{type(value).__name__}: {lines[0]}" if isinstance(value, Exception) else lines[0]
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_optional(key: str) -> bool:
    """Whether a normalizer registers this tensor only if the file has it."""
    return key.split(".")[-1] in OPTIONAL or ".".join(key.split(".")[-3:]) in MISSING
