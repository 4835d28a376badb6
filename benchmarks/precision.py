"""Time of a training step in bfloat16 against float32, and the share spent waiting for data.

    python benchmarks/precision.py [--config configs/burgers.yaml]

Steps of both precisions alternate in one process, so their ratio does not depend on other work on
the machine.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from fields.data.normalizer import Normalizer
from fields.data.symmetry import Symmetry
from fields.metrics.losses import relative_l2
from fields.training.configurations import DEFAULT
from fields.training.settings import settings_parser


def main() -> None:
    """Measures and prints the median step times."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--config", default=str(DEFAULT))
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--width", type=int, default=None, help="overrides model.dim")
    given = arguments.parse_args()
    settings = settings_parser()
    extra = [] if given.width is None else [f"--model.dim={given.width}"]
    parts = settings.instantiate(settings.parse_args(["--config", given.config, *extra]))
    data = parts.data
    task = parts.model
    data.setup()
    task.model = task.compose(data.schema, Normalizer(data.schema, data.statistics))
    task.symmetry = Symmetry(data.schema, data.symmetries)
    optimizer = task.optimizer(task.model.parameters())
    random = torch.Generator().manual_seed(0)
    times: dict[bool, list[float]] = {False: [], True: []}
    waiting = []
    batches = iter(data.train_dataloader())
    for step in range(2 * given.steps + 4):
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            batches = iter(data.train_dataloader())
            batch = next(batches)
        read = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=step % 2 == 1):
            chosen = task.subsample_queries(task.symmetry(batch, random), random)
            loss = relative_l2(task.model(chosen), chosen.v, chosen.y_mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 4:
            times[step % 2 == 1].append(time.perf_counter() - read)
            waiting.append(read - start)
    slow = median(times[False])
    fast = median(times[True])
    print(
        f"{given.config}, {torch.get_num_threads()} threads, "
        f"{sum(p.numel() for p in task.model.parameters()):,} parameters"
    )
    print(
        f"step: float32 {slow * 1e3:.1f} ms, bfloat16 {fast * 1e3:.1f} ms, ratio {slow / fast:.2f}"
    )
    print(
        f"waiting for data: {median(waiting) * 1e3:.2f} ms, "
        f"{100 * median(waiting) / fast:.1f} % of a bfloat16 step"
    )


if __name__ == "__main__":
    main()
