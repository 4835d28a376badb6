"""The tools for data files and checkpoints: ``python -m fields COMMAND``, or ``fields COMMAND``.

A command is a function: its parameters are the options, its docstring the help, its return value
the exit status. Commands import torch inside their functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fields.cli.card import show_card
from fields.cli.files import inspect_file, repack_file, validate_file
from fields.cli.models import list_models, verify_checkpoint
from fields.cli.parser import command_parser
from fields.cli.predict import predict_file
from fields.core.printable import printable

COMMANDS: dict[str, Callable[..., int]] = {
    "list": list_models,
    "card": show_card,
    "predict": predict_file,
    "verify": verify_checkpoint,
    "inspect": inspect_file,
    "validate": validate_file,
    "repack": repack_file,
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Problems with the data end in one sentence on stderr and status 2.

    Args:
        args: words of the command line; by default those of this process.
    """
    program = "fields" if Path(sys.argv[0]).name == "fields" else "python -m fields"
    words = list(sys.argv[1:] if args is None else args)
    given = vars(command_parser(COMMANDS, program).parse_args(words or ["--help"]))
    try:
        return COMMANDS[given.pop("command")](**given)
    except BrokenPipeError:  # `... | head`
        sys.stderr.close()
        return 1
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)  # DataError is a ValueError
        return 2
    except MemoryError as error:
        print(f"error: there is not enough memory. {error}".rstrip(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nInterrupted. No incomplete file was left behind. Run the same command again "
            "(`repack` continues where it stopped).",
            file=sys.stderr,
        )
        return 130
