"""The bar of a terminal and the lines of a log."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from fields.training import progress


def run(console: Console, *, silent: bool = False) -> None:
    """Half a run of 10 s, then an interruption."""
    meter = progress.TrainingProgress(console)
    trainer = SimpleNamespace(sanity_checking=False)
    if silent:
        meter.disable()
    last = {"epoch": 1, "loss": 0.0123, "val_error": 0.0456}
    module = SimpleNamespace(progress=lambda: 0.5, history=[last], elapsed=10.0)
    meter.on_train_start(trainer, module)
    meter.on_train_batch_end(trainer, module)
    meter.on_validation_end(trainer, module)
    meter.on_exception(trainer, module, KeyboardInterrupt())


def test_a_log_gets_a_line_with_the_time_left(monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    out = io.StringIO()
    run(Console(file=out))
    assert out.getvalue() == "epoch 2: loss 0.0123, validation error 0.0456; 50 % done, 10 s left\n"
    quiet = io.StringIO()
    run(Console(file=quiet), silent=True)
    monkeypatch.setattr(progress, "PAUSE", 1e9)
    run(Console(file=quiet))
    assert quiet.getvalue() == ""


@pytest.mark.parametrize("color", [True, False])
def test_a_terminal_gets_one_bar(color, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = io.StringIO()
    run(
        Console(
            file=out, force_terminal=True, width=120, color_system="standard" if color else None
        )
    )
    assert "epoch 2: loss 0.0123" in out.getvalue() and "50%" in out.getvalue()
