"""Generate a file of the catalogue.

    python -m datasets NAME --samples N --resolution R --seed S --out FILE

From a wheel: ``python -m bracketfields_datasets``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import xarray as xr
from jsonargparse import ArgumentParser, Namespace
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .base import Problem, write

PACKAGE = __package__ or Path(__file__).parent.name


def catalogue() -> dict[str, type[Problem]]:
    """Every final problem of this package, by name."""
    here = [str(Path(__file__).parent)]
    names = [m.name for m in pkgutil.iter_modules(here) if m.name != "__main__"]
    modules = [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
    classes = {
        c
        for m in modules
        for c in vars(m).values()
        if inspect.isclass(c) and issubclass(c, Problem)
    }
    return {
        c.name: c for c in sorted(classes, key=lambda c: c.__name__) if not inspect.isabstract(c)
    }


def parser() -> ArgumentParser:
    """One sub-command per problem: the constants of its PDE, then what to make."""
    out = ArgumentParser(
        prog=f"python -m {PACKAGE}", description="Generate data sets of the catalogue."
    )
    commands = out.add_subcommands(dest="problem")
    for name, problem in catalogue().items():
        sub = ArgumentParser(description=inspect.getdoc(problem))
        sub.add_class_arguments(problem)
        sub.add_argument(
            "--samples", type=int | None, default=None, help="how many; default: as published"
        )
        sub.add_argument(
            "--resolution", type=int, default=problem.resolution, help="stored points per axis"
        )
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument(
            "--out", type=Path, default=Path("data") / f"{name}.h5", help="the file to write"
        )
        sub.add_argument(
            "--workers", type=int, default=1, help="processes; the result does not depend on them"
        )
        sub.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
        commands.add_subcommand(
            name, sub, help=(inspect.getdoc(inspect.getmodule(problem)) or "").splitlines()[0]
        )
    return out


def progress(batches: Iterator[xr.Dataset], *, name: str, samples: int) -> Iterator[xr.Dataset]:
    """Passes batches on and shows how far they are."""
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times
    ) as bar:
        task = bar.add_task(name, total=samples)
        for batch in batches:
            yield batch
            bar.advance(task, batch.sizes["sample"])


def run(args: Namespace) -> None:
    """Generates and writes one file."""
    chosen = args[args.problem]
    own = ("samples", "resolution", "seed", "out", "workers", "device", "config")
    problem = catalogue()[args.problem](**{k: v for k, v in vars(chosen).items() if k not in own})
    samples = problem.usual_samples() if chosen.samples is None else chosen.samples
    size = {"samples": samples, "resolution": chosen.resolution, "seed": chosen.seed}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    batches = problem.generate(**size, workers=chosen.workers, device=chosen.device)
    write(
        problem, chosen.out, batches=progress(batches, name=args.problem, samples=samples), **size
    )
    print(f"{chosen.out}: {samples} samples in {time.perf_counter() - start:.1f} s")


def main(argv: list[str] | None = None) -> None:
    """Runs the command line; an interruption leaves no half-written file."""
    args = parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(args)
    except KeyboardInterrupt:
        print(f"\nInterrupted: {args[args.problem].out} was not written.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, ArithmeticError, OSError, MemoryError) as error:
        sys.exit(f"{error}")
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
