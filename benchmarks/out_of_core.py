"""Training from a file that is much larger than memory.

    python -m benchmarks.out_of_core [--gigabytes 20] [--limit 2] [--steps 100]

The file has PDEBench's layout: trajectories of 21 frames of 128 x 128 float32 in one contiguous
array. It is sparse: one trajectory in fifty holds numbers, the others are zeros, which take no disk
space but are read in the same way. The process limits its memory to `--limit` GB (RLIMIT_DATA, as
`ulimit -d` does), computes the statistics of the whole training split and takes `--steps` training
steps. It prints which data are held in memory or streamed, times, and the peak resident memory.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.cache import peak_memory

FRAMES = 21
SIZE = 128
EVERY = 50


def write(path: Path, gigabytes: float) -> int:
    """Writes the file and returns its number of trajectories."""
    samples = int(gigabytes * 1e9 / (4 * FRAMES * SIZE**2))
    wave = np.sin(2 * np.pi * np.arange(SIZE) / SIZE)
    with h5py.File(path, "w") as file:
        tensor = file.create_dataset("tensor", (samples, FRAMES, SIZE, SIZE), "f4")
        for i in range(0, samples, EVERY):
            tensor[i] = (
                np.cos(0.1 * np.arange(FRAMES) + i)[:, None, None]
                * wave[:, None]
                * np.roll(wave, i)
            )
        for name in ("x", "y"):
            file[f"{name}-coordinate"] = (np.arange(SIZE) + 0.5) / SIZE
        file["t-coordinate"] = np.arange(FRAMES + 1) * 0.1
    return samples


def train(path: Path, steps: int, folder: Path) -> tuple[float, float]:
    """Seconds for opening the file with its statistics, and for the training steps."""
    import lightning.pytorch as L

    from fields.data.datamodule import FieldDataModule
    from fields.encoders.windowed_moments import WindowedMoments
    from fields.processors.transformer import Transformer
    from fields.training.task import FieldTraining

    begin = time.perf_counter()
    data = FieldDataModule(str(path), batch_size=16)
    data.setup()
    opened = time.perf_counter()
    task = FieldTraining(
        dim=32,
        encoder=partial(WindowedMoments, tokens=(8, 8)),
        processor=partial(Transformer, depth=2),
        queries=256,
        augment=False,
    )
    quiet: dict[str, Any] = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    L.Trainer(
        max_steps=steps,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        accelerator="cpu",
        default_root_dir=folder,
        **quiet,
    ).fit(task, datamodule=data)
    assert task.global_step == steps
    return opened - begin, time.perf_counter() - opened


def main() -> None:
    """Writes the file, limits the memory, trains and prints the costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, kind, default in (
        ("gigabytes", float, 20.0),
        ("limit", float, 2.0),
        ("steps", int, 100),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("fields").setLevel(logging.INFO)
    resource.setrlimit(resource.RLIMIT_DATA, (int(options.limit * 1e9), resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        samples = write(path, options.gigabytes)
        opening, training = train(path, options.steps, Path(folder))
        facts = path.stat()
        print(
            f"file {facts.st_size / 1e9:.2f} GB, {samples} trajectories, "
            f"{facts.st_blocks * 512 / 1e9:.2f} GB on the disk"
        )
    print(
        f"statistics of the training split in {opening:.0f} s, "
        f"{options.steps} steps of 16 windows in {training:.0f} s"
    )
    print(f"peak memory {peak_memory() / 1e9:.2f} GB of {options.limit:g} GB")


if __name__ == "__main__":
    main()
