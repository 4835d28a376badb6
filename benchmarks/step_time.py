"""CPU time of a training step, measured side by side so that other work disturbs all alike."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.cache import cached, digest, in_subprocess
from benchmarks.runs import RunSpec, fit_size, open_problem, task_of_size
from fields.metrics.losses import VariableError


def step_times(specs: Sequence[RunSpec], rounds: int = 15) -> list[float]:
    """CPU seconds of one training step of each model: the minimum over alternating rounds."""
    warnings.filterwarnings("ignore")
    steps = [training_step(spec) for spec in specs]
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, measured in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            measured.append(time.process_time() - start)
    return [min(measured) for measured in times]


def training_step(spec: RunSpec) -> Callable[[], None]:
    """A function that takes one training step on a fixed batch, without the trainer around it."""
    parts, problem = open_problem(spec)
    task, compose = task_of_size(spec, parts, *fit_size(spec, parts, problem))
    assert task is not None  # models that are fitted in closed form take no steps
    task.model = compose(**problem)
    task.error = VariableError(parts.data.schema.outputs, parts.data.statistics, task.weights)
    optimizer = task.optimizer(task.model.parameters())
    batch = next(iter(parts.data.train_dataloader()))
    random = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=parts.run.bf16):
            loss = task.loss(batch, random)
        loss.backward()
        optimizer.step()

    return step


def cached_step_times(specs: Sequence[RunSpec], folder: Path) -> list[float]:
    """`step_times` in a process of its own, cached in ``folder``."""
    file = folder / f"step_time_{digest(specs)}.json"
    return list(cached(file, lambda: in_subprocess(step_times, specs)))
