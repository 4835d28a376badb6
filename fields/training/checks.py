"""Settings that cannot work are refused in one sentence before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

# Counts among the arguments of components; a model with none of them cannot be computed.
COUNTS = ("tokens", "heads", "steps")


def check_schedule(*, warmup: float, queries: int | None, seconds: float | None) -> None:
    """Refuse settings of a training that leave nothing to train.

    Raises:
        ValueError: the message names the setting.

    Example:
        >>> check_schedule(warmup=0.1, queries=0, seconds=None)
        Traceback (most recent call last):
        ValueError: `model.queries` is 0, but each step needs at least 1 query point. Omit it for...
    """
    if not 0 <= warmup <= 1:
        raise ValueError(
            f"`model.warmup` is {warmup}, but it is a share of the run: at least 0 and at most 1."
        )
    if queries is not None and queries < 1:
        raise ValueError(
            f"`model.queries` is {queries}, but each step needs at least 1 query point. Omit it "
            "for all points."
        )
    if seconds is not None and not seconds > 0:
        raise ValueError(
            f"`model.seconds` is {seconds}, but a training needs more than 0 seconds. Omit it for "
            "no limit."
        )


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse options of the trainer with which nothing is trained or validated.

    Raises:
        ValueError: the message names the option.

    Example:
        >>> check_trainer({"max_epochs": 0})
        Traceback (most recent call last):
        ValueError: `trainer.max_epochs` is 0, so nothing would be trained. Use at least 1.
    """
    for name in ("max_epochs", "max_steps", "limit_train_batches", "limit_val_batches"):
        value = options.get(name)
        if value is not None and (value == 0 or value < -1):
            what = "validated" if name == "limit_val_batches" else "trained"
            raise ValueError(
                f"`trainer.{name}` is {value}, so nothing would be {what}. Use at least 1."
            )


def check_learning_rates(optimizer: Optimizer) -> None:
    """Refuse learning rates that are not positive numbers.

    Raises:
        ValueError: the message has the rate.
    """
    for group in optimizer.param_groups:
        rate = float(group["lr"])
        if not (0 < rate < math.inf):
            raise ValueError(
                f"The learning rate of {type(optimizer).__name__} is {rate}, but it must be a "
                "finite number above 0."
            )


def check_counts_of_components(settings: Any, path: str = "model") -> None:
    """Refuse components of the model that have a count below 1.

    Args:
        settings: of the model, with the arguments of its components inside.
        path: of these settings, for the message.

    Raises:
        ValueError: the message names the setting.

    Example:
        >>> check_counts_of_components({"encoder": {"init_args": {"tokens": [0]}}})
        Traceback (most recent call last):
        ValueError: `model.encoder.init_args.tokens` is [0], but it must be at least 1.
    """
    if not isinstance(settings, Mapping):
        return
    for key, value in settings.items():
        here = f"{path}.{key}"
        counts = value if isinstance(value, list | tuple) else [value]
        if key in COUNTS and any(isinstance(count, int) and count < 1 for count in counts):
            raise ValueError(f"`{here}` is {value}, but it must be at least 1.")
        check_counts_of_components(value, here)


def check_run_name(name: str | None) -> None:
    """Refuse a name that is not a folder inside the folder of all runs.

    Raises:
        ValueError: the message has the name.

    Example:
        >>> check_run_name("..")
        Traceback (most recent call last):
        ValueError: `run.name` is '..', but it must name a folder inside `run.folder`.
    """
    if name is None:
        return
    path = Path(name)
    if not path.name.strip() or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"`run.name` is {name!r}, but it must name a folder inside `run.folder`.")
