"""The main job: from settings to a trained model, its tests, a baseline and a report."""

from __future__ import annotations

import logging
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import Namespace

from fields.core.distributed import barrier, broadcast, init_process_group, is_main_process
from fields.training.catalogue import lawful_quantities, make_missing_files
from fields.training.checks import check_counts_of_components, check_run_name
from fields.training.configurations import DEFAULT
from fields.training.divergence import DivergedError, InterruptedTraining
from fields.training.run_folder import check_resumable, open_run_folder, write_settings
from fields.training.settings import Run, settings_parser

FIELD = "field"  # name of the trained model in tables
DIVERGED = 3  # exit status of a training with numbers that are not finite


def train(argv: Sequence[str] | None = None, *, program: str = "fields-train") -> None:
    """Generate missing data, train, test, train the baseline, and write it all to ``runs/NAME``.

    Signal handlers, log levels and warning filters are those of the caller again afterwards.

    Args:
        argv: words of the command line; by default those of this process.
        program: command by which the user starts this, for messages and for the report.

    Raises:
        SystemExit: the settings or the data are wrong (status 1), a number was not finite during
            the training (status 3), or the run was interrupted (status 130).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([*program.split(), *words])
    name = program.split()[-1]
    if not any(word.startswith("--config") for word in words):
        words = ["--config", str(DEFAULT), *words]
    parser = settings_parser(name)
    config = parser.parse_args(words)
    folder: Path | None = None
    with _process_state():
        init_process_group()
        try:
            check_run_name(config.run.name)
            check_counts_of_components(config.model.as_dict())
            if is_main_process():
                make_missing_files(config.data, config.make)
            barrier()
            parts = parser.instantiate(config)
            settings = parser.dump(config, skip_validation=True)
            with _run_folder(parts.run, config.data, settings) as folder:
                train_and_report(parts.run, parts, folder, command)
        except KeyboardInterrupt:
            _say(f"\nInterrupted. Complete epochs are saved; go on with: {again(command, folder)}")
            sys.exit(130)
        except DivergedError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            sys.exit(DIVERGED)
        except MemoryError as error:
            sys.exit(f"{name}: there is not enough memory. {error}".rstrip())
        except (ValueError, OSError) as error:
            sys.exit(f"{name}: {error}")


@contextmanager
def _run_folder(run: Run, data: Namespace, settings: str) -> Iterator[Path]:
    """The folder of the run in all processes, with its settings; the main process keeps it locked.

    Raises:
        ValueError: it is in use, or a resumed run has other settings or data.
    """
    with ExitStack() as stack:
        folder: Path | None = None
        if is_main_process():
            folder = stack.enter_context(open_run_folder(run, data.path))
            if folder.name != (run.name or Path(data.path).stem):
                _say(
                    f"A run of this name exists: writing to {folder}. Use `--resume` to continue "
                    "the existing one, or `--run.overwrite true` to replace it."
                )
            for sentence in check_resumable(folder, settings, data) if run.resume else ():
                _say(sentence)
            write_settings(folder, settings, data)
        yield cast(Path, broadcast(folder))


def again(command: str, folder: Path | None) -> str:
    """The command that continues an interrupted run.

    Example:
        >>> again("python train.py --run.name a", Path("runs/a"))
        'python train.py --run.name a --resume'
        >>> again("python train.py", Path("runs/burgers-2"))
        'python train.py --run.name burgers-2 --resume'
    """
    command = command.removesuffix(" --resume")
    numbered = folder is not None and re.search(r"-\d+$", folder.name)
    named = folder is not None and f"--run.name {shlex.quote(folder.name)}" in command
    name = f" --run.name {shlex.quote(folder.name)}" if numbered and not named and folder else ""
    return f"{command}{name} --resume"


@contextmanager
def _process_state() -> Iterator[None]:
    """Treat SIGTERM as an interruption, log what is read, and restore all of it at the end."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    levels = {"fields": logging.INFO, "lightning.pytorch": logging.WARNING}
    before = {key: logging.getLogger(key).level for key in levels}
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread:  # the end of a job's time is an interruption
        handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            logging.basicConfig(format="%(message)s")
            for key, level in levels.items():
                logging.getLogger(key).setLevel(level)
            yield
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, handler)
        root.handlers[:] = handlers
        for key, level in before.items():
            logging.getLogger(key).setLevel(level)


def _say(text: str) -> None:
    """Print from the main process only."""
    if is_main_process():
        print(text, flush=True)


def train_and_report(run: Run, parts: Namespace, folder: Path, command: str) -> None:
    """Train the model and the baseline, and report on both.

    Args:
        run: settings of the run.
        parts: ``model`` (a :class:`~fields.training.task.FieldTraining`), ``data``, ``trainer`` and
            ``report``.
        folder: where checkpoints and the report are written.
        command: the user's command, for the report.
    """
    import lightning.pytorch as L

    from fields.report.builder import ReportBuilder
    from fields.report.rollout import RolloutReport
    from fields.report.static import StaticReport
    from fields.training.fit import fit

    L.seed_everything(parts.model.seed, workers=True, verbose=False)
    data = parts.data
    task = parts.model
    data.setup()
    options = {
        **vars(parts.trainer),
        "precision": matmul_precision(run.bf16),
        "enable_model_summary": False,
    }
    _say(summarize_problem(data, options["precision"]))
    metrics = parts.report.metrics
    builder: ReportBuilder = (
        StaticReport(data, metrics=metrics)
        if data.schema.dt is None
        else RolloutReport(data, metrics=metrics, quantities=lawful_quantities(data.source))
    )
    baseline = run.baseline and _has_baseline(builder)
    stopped: DivergedError | InterruptedTraining | None = None
    try:
        fit(task, data, folder / "checkpoints", resume=run.resume, **options)
    except (DivergedError, InterruptedTraining) as error:
        if not error.kept:
            raise
        stopped = error
        builder.remarks.append(str(error))
        _say(f"\n{error} Reporting on its best epoch; interrupt (again) to omit that.")
    count = sum(p.numel() for p in task.model.parameters())
    _say(f"Trained {count:,} parameters in {task.elapsed:.0f} s.")
    _add_trained(builder, FIELD, task)
    if baseline and stopped is None:
        _train_baseline(run, parts, builder, folder, command, options)
    _write_results(folder, task.model, data, builder, command)
    if stopped is not None:
        _say("The report and model.safetensors are those of the best epoch before that.")
        raise stopped


def _has_baseline(builder: Any) -> bool:
    """Whether the baseline's library is there, said before the training and in the report."""
    if find_spec("neuralop") is not None:
        return True
    said = (
        "No baseline in this report: it needs neuraloperator, which is not installed "
        "(`pip install 'bracketfields[baselines]'`)."
    )
    _say(said)
    builder.remarks.append(said)
    return False


def _add_trained(builder: Any, name: str, task: Any) -> None:
    """Measure the model of a finished training for the report."""
    builder.add(name, task.model, history=task.history, seconds=task.elapsed, seed=task.seed)


def _train_baseline(
    run: Run, parts: Namespace, builder: Any, folder: Path, command: str, options: dict[str, Any]
) -> None:
    """Train the FNO for the time that the model took, and add it to the report."""
    from fields.checkpoints.checkpoint import save
    from fields.training.fit import fit

    data = parts.data
    task = parts.model
    _say(f"Training neuraloperator's FNO for the same {task.elapsed:.0f} s.")
    peer = fno_training(data, seconds=task.elapsed, seed=task.seed)
    options = {**options, "max_epochs": 100_000, "precision": "32-true"}
    try:
        fit(peer, data, folder / "checkpoints" / "fno", resume=run.resume, **options)
    except (ValueError, ImportError, DivergedError) as error:
        # A grid that the FNO cannot take, or a broken library, must not cost the model's report.
        said = f"No baseline in this report: {error}"
        _say(said)
        builder.remarks.append(said)
        return
    _add_trained(builder, "FNO (neuraloperator)", peer)
    card = builder.card(command)
    if is_main_process():
        save(peer.model, folder / "fno.safetensors", card=card)


def fno_training(data: Any, *, seconds: float, seed: int) -> Any:
    """Training of neuraloperator's FNO; for problems in time it is applied step by step.

    Args:
        data: the data module, after ``setup``.
        seconds: wall time at which the schedule ends.
        seed: of its random symmetries.
    """
    from fields.baselines.fno import FNO
    from fields.baselines.stepwise import Stepwise
    from fields.training.task import BaselineTraining

    def compose(**given: Any) -> Any:
        operator = FNO(modes=min(16, min(data.schema.grid) // 2), **given)
        return operator if data.schema.dt is None else Stepwise(operator=operator, **given)

    return BaselineTraining(
        compose,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-4),
        augment=all(data.schema.homogeneous),
        seconds=seconds,
        seed=seed,
    )


def matmul_precision(bf16: bool) -> str:
    """Lightning's precision: bf16-mixed where it is wanted and fast, else 32-true.

    It is fast on GPUs that support it and on CPUs with AMX (measured in benchmarks/precision.py).

    Example:
        >>> matmul_precision(False)
        '32-true'
    """
    fast = (
        torch.cuda.is_bf16_supported()
        if torch.cuda.is_available()
        else torch.cpu._is_amx_tile_supported()
    )
    return "bf16-mixed" if bf16 and fast else "32-true"


def summarize_problem(data: Any, precision: str = "") -> str:
    """One line on the variables, the grid, the number of samples and the machine."""
    s = data.schema
    grid = "" if s.grid is None else f" on {'x'.join(map(str, s.grid))} points"
    machine = ", ".join(filter(None, (precision, f"{torch.get_num_threads()} threads")))
    return (
        f"{', '.join(s.inputs)} -> {', '.join(s.outputs)} over {', '.join(s.coords)}{grid}: "
        f"{len(data.train)} training and {len(data.val)} validation samples, "
        f"tests at {', '.join(data.tests)}; {machine}."
    )


def _write_results(folder: Path, model: Any, data: Any, builder: Any, command: str) -> None:
    """Write checkpoint, table, pictures, ``report.json`` and ``report.html``."""
    from fields import report
    from fields.checkpoints.checkpoint import save

    card = builder.card(command)  # collects from all processes what they have tested
    if not is_main_process():
        return
    checkpoint = folder / "model.safetensors"
    save(model, checkpoint, card=card)
    dt = data.schema.dt
    fine = "x".join(["256"] * data.schema.dim)
    asked = f"--at {fine}" if dt is None else f"--times [{dt / 2:g},{100 * dt:g}]"
    problem = summarize_problem(data)
    name = data.source.attrs.get("problem", Path(data.path).stem)
    target = f"--out {folder / 'prediction.nc'}"
    results = builder.results(
        title=f"{name}: {problem.split(':')[0]}",
        problem=problem,
        command=command,
        next_command=f"python -m fields predict {checkpoint} {data.path} {asked} {target}",
    )
    report.print_table(results)
    for path in (checkpoint, *report.write_report(results, folder)):
        print(f"wrote {path}")
    if results.next_command:
        print(f"next: {results.next_command}")


if __name__ == "__main__":
    train(program="python -m fields.training.run")
