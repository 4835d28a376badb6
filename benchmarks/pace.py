"""How long a training step takes, measured side by side: wall time for machines that others use too."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.cells import Cell, settings, size_for, sized
from fields.normalizer import Normalizer


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
    parts, _ = settings(cell["problem"], cell["model"] if cell["model"].startswith("field") else "", cell["extra"])
    parts.data.setup()
    problem = {"schema": parts.data.schema, "normalizer": Normalizer(parts.data.schema, parts.data.statistics)}
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
    file = folder / f"pace_{hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if not file.is_file():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            seconds = pool.submit(pace, cells).result()
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(seconds))
    return list(json.loads(file.read_text()))
