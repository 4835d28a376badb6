"""The settings of a training, from the command line and from YAML files."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser

import fields
from fields.training.configurations import MODE, chosen_tokens, with_shipped_and_bases
from fields.training.old_settings import current_words

# Options of the trainer that `fit` sets.
FIXED: set[str | int] = {
    "callbacks",
    "logger",
    "default_root_dir",
    "precision",
    "plugins",
    "use_distributed_sampler",
}


@dataclass
class Run:
    """Name and folder of the run, and what is trained beside the model.

    Args:
        name: folder of this run inside ``folder``; by default the stem of ``data.path``.
        folder: folder of all runs.
        resume: continue from the last complete epoch, or start if there is none.
        overwrite: replace an existing run of this name; without it, a new run is written to
            ``NAME-2``, ``NAME-3`` and so on.
        baseline: also train neuraloperator's FNO on the same data for the same wall time.
        bf16: multiply matrices in bfloat16 (weights stay float32) on machines where that is faster.

    Example:
        >>> Run(name="burgers").folder
        'runs'
    """

    name: str | None = None
    folder: str = "runs"
    resume: bool = False
    overwrite: bool = False
    baseline: bool = True
    bf16: bool = False


class SettingsParser(ArgumentParser):
    """Parser of command line and YAML files: bases, tokens, names of version 0.1, suggestions.

    Example:
        >>> parser = SettingsParser(prog="fields-train", exit_on_error=False)
        >>> parser.add_argument("--model.dim", type=int, default=128) and None
        >>> parser.parse_args(["--model.dim=64"]).model.dim
        64
    """

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Parse words of the command line; see jsonargparse."""
        words = current_words(sys.argv[1:] if args is None else args)
        with ExitStack() as stack:
            try:
                words = with_shipped_and_bases(words)
                stack.enter_context(chosen_tokens(words))
            except ValueError as error:
                self.error(str(error))
            return super().parse_args(words, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Exit with the message and with the known keys that are closest to what was given."""
        known = {key.lstrip("-") for action in self._actions for key in action.option_strings}
        words = [word.strip("'\"-:,.").split("=")[0] for word in message.replace("=", " ").split()]
        close = [
            match
            for word in words
            if word not in known and "." in word
            for match in difflib.get_close_matches(word, known, 2, 0.6)
        ]
        hint = f"\nDid you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
        sys.exit(f"{self.prog}: {message}{hint}")


def settings_parser(program: str = "train.py") -> SettingsParser:
    """Parser of all settings, in the groups run, make, model, data, trainer and report.

    Args:
        program: name of the program in messages.

    Example:
        >>> settings_parser().parse_args(["--data.path=mine.h5", "--model.dim=64"]).model.dim
        64
    """
    import lightning.pytorch as L
    from torchmetrics import Metric

    from fields.data.datamodule import FieldDataModule
    from fields.training.task import FieldTraining

    out = SettingsParser(
        prog=program,
        description="Train a model, test it at every resolution, compare it with a baseline and "
        "write a report.",
        parser_mode=MODE,
        version=f"bracketfields {fields.__version__}",
    )
    out.add_argument(
        "--config",
        action="config",
        help="YAML file, or the name of a shipped configuration; later ones override earlier ones",
    )
    out.add_argument(
        "--resume",
        dest="run.resume",
        action="store_true",
        help="continue from the last complete epoch, or start if there is none",
    )
    out.add_argument(
        "--tokens",
        type=tuple[int, ...] | None,
        help="latent tokens per axis, for every component of the model that takes `tokens` and is "
        "given none of its own in the file that states this key",
    )
    out.add_class_arguments(Run, "run")
    out.add_argument(
        "--make",
        type=dict[str, Any] | None,
        help="problem of the catalogue and its arguments, with which missing files are made",
    )
    out.add_argument(
        "--report.metrics",
        type=dict[str, Metric] | None,
        help="further metrics of the report by name, each with class_path and init_args",
    )
    out.add_class_arguments(FieldTraining, "model")
    out.add_class_arguments(FieldDataModule, "data")
    out.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip=FIXED)
    return out
