"""How far a training is, and how long it has still to go."""

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


class Meter(ProgressBar):
    """One bar for the whole run on a terminal, a line now and then in a log; from the first process alone.

    Args:
        console: where to; standard error unless given.
    """

    def __init__(self, console: Console | None = None):
        super().__init__()
        self.console = console or Console(stderr=True)
        self.bar: Progress | None = None
        self.silent, self.said = False, 0.0

    def disable(self) -> None:
        """Lightning's word to all processes but the first."""
        self.silent = True

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Draws the bar."""
        self.said = time.perf_counter()
        if self.console.is_terminal and not self.silent:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, *times, console=self.console, transient=True)
            self.bar.add_task("training", total=1.0, completed=min(module.progress(), 1.0))
            self.bar.start()

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Moves it."""
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=min(module.progress(), 1.0))

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Says how good the model is by now."""
        if trainer.sanity_checking or self.silent or not module.history:
            return
        last = module.history[-1]
        now = f"epoch {last['epoch'] + 1}: loss {format_number(last['loss'])}, validation error {format_number(last['val_error'])}"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], description=now)
        elif time.perf_counter() - self.said >= PAUSE:
            self.said, done = time.perf_counter(), min(module.progress(), 1.0)
            left = format_duration(module.elapsed * (1 - done) / done) if done else "?"
            self.console.print(
                f"{now}; {100 * done:.0f} % done, {left} left", highlight=False, soft_wrap=True
            )

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """The same."""
        self.on_train_end(trainer, module)
