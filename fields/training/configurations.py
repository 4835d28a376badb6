"""Configuration files: where shipped ones are, and what is resolved when one is loaded.

A file may name another one in ``base``, which is then loaded before it. ``tokens`` at its top is
given to every component of its model that takes ``tokens`` and states none.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

import fields
from fields.training.old_settings import current_settings

# In a wheel beside the code, in a checkout at its root.
PACKAGED = Path(fields.__file__).parent / "configs"
CONFIGS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parents[1] / "configs"
DEFAULT = CONFIGS / "burgers.yaml"
MODE = "bracketfields"  # of the parser: YAML with what is resolved here
_tokens: ContextVar[Any] = ContextVar("tokens", default=None)


def find_configuration(name: str, near: Path | None = None) -> Path:
    """The file of a configuration: as given, beside ``near``, or among the shipped ones.

    Args:
        name: a path, or the name of a shipped configuration with or without ``configs/`` and
            ``.yaml``.
        near: a configuration that names this one as its base.

    Raises:
        ValueError: there is no such file.

    Example:
        >>> find_configuration("darcy").name
        'darcy.yaml'
    """
    shipped = CONFIGS / Path(name).relative_to("configs") if name.startswith("configs/") else ""
    first = Path(name) if near is None else near.parent / name
    candidates = [first, CONFIGS / name, CONFIGS / f"{name}.yaml", Path(shipped)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and name and first.is_dir():
        raise ValueError(f"the configuration {name} is a folder. Name a YAML file in it.")
    if found is None:
        names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
        raise ValueError(f"there is no configuration {name}. Shipped configurations: {names}.")
    return found


def with_shipped_and_bases(words: Sequence[str]) -> list[str]:
    """Words of a command line with ``--config`` resolved to files, each after its bases.

    Raises:
        ValueError: a file does not exist.

    Example:
        >>> words = with_shipped_and_bases(["--config=darcy", "--resume"])
        >>> [Path(word).name for word in words]
        ['--config', 'base.yaml', '--config', 'darcy.yaml', '--resume']
    """
    out: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != "--config":
            out.append(word)
            continue
        value = value if equals else next(rest, "")
        if "\n" in value or ": " in value:  # the configuration itself
            out += [name, value]
            continue
        for file in _with_bases(find_configuration(value)):
            out += [name, str(file)]
    return out


def read_configuration(file: Path) -> dict[str, Any]:
    """The settings of one file, without those of its base.

    Raises:
        ValueError: it is not YAML, or holds no settings.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "it is not text in UTF-8"
        raise ValueError(f"{file} is not valid YAML: {problem}{where}.") from error
    if not isinstance(content, dict):
        what = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise ValueError(f"{file} {what}, but a configuration holds settings, as in `model: ...`.")
    return content


def _with_bases(file: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """The file after its base and the base's bases."""
    if file.resolve() in above:
        raise ValueError(f"{file} is its own base, directly or through others: change its `base`.")
    base = read_configuration(file).get("base")
    if not base:
        return [file]
    above = (*above, file.resolve())
    return [*_with_bases(find_configuration(str(base), file), above), file]


@contextmanager
def chosen_tokens(words: Sequence[str]) -> Iterator[None]:
    """While files are loaded, ``tokens`` is what the last file or option says that states it.

    Raises:
        ValueError: an option states tokens, but no file does.
    """
    in_files = in_options = last = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        value = value if equals else after
        if name == "--tokens":
            in_options = last = yaml.safe_load(value)
        elif name == "--config" and Path(value).is_file():
            content = read_configuration(Path(value))
            if content.get("tokens"):
                in_files = last = content["tokens"]
    if in_options and not in_files:
        raise ValueError(
            "`--tokens` replaces the `tokens` at the top of a configuration, but none is there. "
            "Set them for each component, as in `--model.encoder.tokens`."
        )
    token = _tokens.set(last)
    try:
        yield
    finally:
        _tokens.reset(token)


def load_settings(text: str) -> Any:
    """YAML in present names, without ``base`` and with ``tokens`` given to the model's components.

    Example:
        >>> text = "{tokens: [8], model: {encoder: fields.encoders.WindowedMoments}}"
        >>> load_settings(text)["model"]["encoder"]["init_args"]
        {'tokens': [8]}
    """
    settings = current_settings(get_loader("yaml")(text))
    if not isinstance(settings, dict):
        return settings
    if "tokens" in settings and isinstance(settings.get("model"), dict):
        tokens = _tokens.get() or settings["tokens"]
        settings["model"] = _with_tokens(settings["model"], tokens)
    return {key: value for key, value in settings.items() if key != "base"}


def _with_tokens(value: Any, tokens: Any) -> Any:
    """A description of components in which each one that takes ``tokens`` has them."""
    if isinstance(value, list):
        return [_with_tokens(item, tokens) for item in value]
    if isinstance(value, str) and _takes_tokens(value):
        return {"class_path": value, "init_args": {"tokens": tokens}}
    if not isinstance(value, dict):
        return value
    path = value.get("class_path")
    out = {k: v if k == "class_path" else _with_tokens(v, tokens) for k, v in value.items()}
    if isinstance(path, str) and _takes_tokens(path):
        out["init_args"] = {"tokens": tokens} | (out.get("init_args") or {})
    return out


def _takes_tokens(path: str) -> bool:
    """Whether this is the path of a class with an argument ``tokens``."""
    if not re.fullmatch(r"\w+(\.\w+)+", path):
        return False
    module, name = path.rsplit(".", 1)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(found) and "tokens" in inspect.signature(found).parameters


set_loader(MODE, load_settings, exceptions=(yaml.YAMLError,))
