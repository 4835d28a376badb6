"""Parser of ``python -m fields``, made from the signatures and docstrings of the commands."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, get_args, get_type_hints

from docstring_parser import parse

import fields

Commands = Mapping[str, Callable[..., int]]
ALIASES = {"symmetrize": "symmetrise"}  # options that are accepted and not shown


class CommandParser(argparse.ArgumentParser):
    """A parser that suggests a known option for an unknown one.

    Args:
        commands: function of each command, by name.
        options: see ``argparse.ArgumentParser``.

    Example:
        >>> CommandParser(prog="fields").prog
        'fields'
    """

    def __init__(self, *, commands: Commands | None = None, **options: Any):
        super().__init__(**options)
        self.commands = commands or {}

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words of the command line; every option must be known."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [f"--{name}" for name in signature(self.commands[found.command]).parameters]
            close = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            self.error(
                f"{found.command} has no option {unknown[0]}.{hint} "
                f"See `{self.prog} {found.command} --help`."
            )
        return found


def command_parser(commands: Commands, program: str = "python -m fields") -> CommandParser:
    """Parser of all commands.

    A parameter without default is required, one after ``*`` is an option, and a bool is a switch.

    Args:
        commands: function of each command, by name.
        program: how the user starts the program.
    """
    out = CommandParser(
        commands=commands,
        prog=program,
        description="Tools for data files and trained models.",
        allow_abbrev=False,
    )
    version = f"bracketfields {fields.__version__}"
    out.add_argument("--version", action="version", version=version)
    group = out.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True,
        parser_class=CommandParser,
    )  # fmt: skip
    for name, function in commands.items():
        about = parse(function.__doc__ or "")
        summary = about.short_description or ""
        texts = {p.arg_name: (p.description or "").rstrip(".") for p in about.params}
        types = get_type_hints(function)
        sub = group.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        for key, parameter in signature(function).parameters.items():
            _add_argument(sub, key, parameter, types[key], texts[key])
    return out


def _add_argument(
    sub: argparse.ArgumentParser, key: str, parameter: Parameter, kind: Any, text: str
) -> None:
    default = parameter.default
    if default is None:  # the type is optional
        kind = next((t for t in get_args(kind) if t is not type(None)), kind)
    if kind is bool:
        sub.add_argument(f"--{key}", action="store_true", help=text)
        if key in ALIASES:
            hidden: dict[str, Any] = {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
            sub.add_argument(f"--{ALIASES[key]}", dest=key, action="store_true", **hidden)
        return
    shown = f" (default: {default})" if default not in (parameter.empty, None) else ""
    words: dict[str, Any] = {
        "help": text + shown,
        "type": parse_numbers if kind == list[float] else kind,
        "metavar": key.upper(),
    }
    if parameter.kind is parameter.KEYWORD_ONLY:
        required = default is parameter.empty
        sub.add_argument(f"--{key}", required=required, default=default, **words)
    else:
        sub.add_argument(key, nargs="?" if default is None else None, **words)


def parse_numbers(text: str) -> list[float]:
    """Numbers that are separated by commas, with or without brackets.

    Example:
        >>> parse_numbers("[0.1,0.25]")
        [0.1, 0.25]
    """
    return [float(word) for word in text.strip("[]").split(",")]
