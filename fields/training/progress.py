"""Progress of a training: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fields.report.results import format_duration, format_number

PAUSE = 30.0  # seconds between two lines where there is no terminal


class TrainingProgress(ProgressBar):
    """One bar for the whole run on a terminal, or a line every 30 s; from the main process only.

    Args:
        console: where to write; standard error unless given.

    Example:
        >>> TrainingProgress().bar is None  # drawn when the training starts
        True
    """

    def __init__(self, console: Console | None = None):
        super().__init__()
        self.console = console or Console(stderr=True)
        self.bar: Progress | None = None
        self.silent = False
        self.last_line = 0.0

    def disable(self) -> None:
        """Stay silent; Lightning calls this in all processes but the main one."""
        self.silent = True

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Draw the bar where the output is a terminal."""
        self.last_line = time.perf_counter()
        if self.console.is_terminal and not self.silent:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, *times, console=self.console, transient=True)
            self.bar.add_task("training", total=1.0, completed=min(module.progress(), 1.0))
            self.bar.start()

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Advance the bar to the share of the training that is done."""
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=min(module.progress(), 1.0))

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Show epoch, loss and validation error."""
        if trainer.sanity_checking or self.silent or not module.history:
            return
        last = module.history[-1]
        loss = format_number(last["loss"])
        error = format_number(last["val_error"])
        now = f"epoch {last['epoch'] + 1}: loss {loss}, validation error {error}"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], description=now)
        elif time.perf_counter() - self.last_line >= PAUSE:
            self.last_line = time.perf_counter()
            done = min(module.progress(), 1.0)
            left = format_duration(module.elapsed * (1 - done) / done) if done else "?"
            line = f"{now}; {100 * done:.0f} % done, {left} left"
            self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Remove the bar at the end of training."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Remove the bar so that it does not cover the error."""
        self.on_train_end(trainer, module)
