"""How long a training step takes on a processor, measured side by side: wall time for machines that others use too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.cells import Cell, opened, size_for, sized
from benchmarks.kept import alone, kept, stamp


def pace(cells: Sequence[Cell], rounds: int = 15) -> list[float]:
    """Seconds of one training step of each cell's model: all take turns, and of all rounds the least disturbed counts."""
    warnings.filterwarnings("ignore")
    steps = [stepper(cell) for cell in cells]
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, taken in zip(steps, times, strict=True):
            begun = time.process_time()
            step()
            taken.append(time.process_time() - begun)
    return [min(taken) for taken in times]


def stepper(cell: Cell) -> Callable[[], None]:
    """A training step of a cell's model on one batch, without the trainer around it."""
    parts, problem = opened(cell)
    task, compose = sized(cell, parts, *size_for(cell, parts, problem))
    assert task is not None  # what is only fitted takes no steps
    task.model = compose(**problem)
    optimizer = task.optimizer(task.model.parameters())
    batch, random = next(iter(parts.data.train_dataloader())), torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=parts.run.bf16):
            loss = task.loss(batch, random)
        loss.backward()
        optimizer.step()

    return step


def paced(cells: Sequence[Cell], folder: Path) -> list[float]:
    """`pace` in a process of its own, remembered in a file."""
    return list(kept(folder / f"pace_{stamp(cells)}.json", lambda: alone(pace, cells)))
