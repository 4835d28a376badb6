"""Trains a conditional neural field, tests it, compares it and reports: `python train.py [--config FILE …] [--key value …]`."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import shlex
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace

from fields.core.distributed import barrier, init_process_group, is_main_process

ROOT = Path(__file__).parent
DEFAULT = ROOT / "configs" / "burgers.yaml"
FIELD = "field"
OURS: set[str | int] = {
    "callbacks",
    "logger",
    "default_root_dir",
    "precision",
    "plugins",
    "use_distributed_sampler",
}  # set here


@dataclass
class Run:
    """One run and its folder.

    Args:
        name: the folder under ``folder``; by default the problem's name.
        folder: where runs are kept.
        resume: go on from the last complete epoch; from the beginning if there is none.
        baseline: also train neuraloperator's FNO on the same data for the same wall time.
        bf16: bfloat16 matrix products (weights stay float32), taken only where the machine multiplies them faster.
    """

    name: str | None = None
    folder: str = "runs"
    resume: bool = False
    baseline: bool = True
    bf16: bool = False


class Parser(ArgumentParser):
    """Says what was meant when a key is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Prints the sentence and the closest known keys."""
        known = {key.lstrip("-") for action in self._actions for key in action.option_strings}
        words = [word.strip("'\"-:,.").split("=")[0] for word in message.replace("=", " ").split()]
        close = [
            m
            for word in words
            if word not in known and "." in word
            for m in difflib.get_close_matches(word, known, 2, 0.6)
        ]
        hint = f"\nDid you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
        sys.exit(f"train.py: {message}{hint}")


def parser() -> Parser:
    """All settings: run, make, model, data, trainer."""
    import lightning.pytorch as L

    from fields.data.datamodule import FieldDataModule
    from fields.training.task import FieldTraining

    out = Parser(description=__doc__, parser_mode="yaml")
    out.add_argument(
        "--config", action="config", help="YAML file; later ones override earlier ones"
    )
    out.add_argument(
        "--resume",
        dest="run.resume",
        action="store_true",
        help="go on from the last complete epoch, if there is one",
    )
    out.add_class_arguments(Run, "run")
    out.add_argument(
        "--make",
        type=dict[str, Any] | None,
        help="arguments of `python -m datasets`, used if data.path is missing",
    )
    out.add_class_arguments(FieldTraining, "model")
    out.add_class_arguments(FieldDataModule, "data")
    out.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip=OURS)
    return out


def precision(bf16: bool) -> str:
    """bf16-mixed if wanted and fast: on GPUs that have it and on CPUs with AMX (figures: benchmarks/precision.py)."""
    fast = (
        torch.cuda.is_bf16_supported()
        if torch.cuda.is_available()
        else torch.cpu._is_amx_tile_supported()
    )
    return "bf16-mixed" if bf16 and fast else "32-true"


def make(data: Namespace, recipe: dict[str, Any] | None) -> None:
    """Makes missing files with the catalogue's generator; those for tests with what ``test`` changes in the recipe."""
    from datasets.__main__ import main as generate

    for path in map(Path, (data.path, *data.test_paths)):
        if path.exists():
            continue
        if recipe is None:
            sys.exit(
                f"train.py: there is no file {path}. Set data.path, or `make` to a problem of `python -m datasets --help`."
            )
        chosen = recipe | (recipe.get("test", {}) if str(path) != data.path else {})
        options = [
            word
            for key, value in chosen.items()
            if key not in ("problem", "test")
            for word in (f"--{key}", str(value))
        ]
        print(f"{path} is not there yet: making it.")
        generate([recipe["problem"], "--out", str(path), *options])


def main(argv: list[str] | None = None) -> None:
    """Data, training, test, baseline, report, checkpoint; every file under ``runs/NAME``."""
    argv = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "train.py", *argv])
    if not any(word.startswith("--config") for word in argv):
        argv = ["--config", str(DEFAULT), *argv]
    settings = parser()
    config = settings.parse_args(argv)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # the end of a job's time is an interruption
    init_process_group()
    try:
        if is_main_process():
            make(config.data, config.make)
        barrier()
        parts = settings.instantiate(config)
        run: Run = parts.run
        folder = Path(run.folder) / (run.name or Path(config.data.path).stem)
        if is_main_process():
            folder.mkdir(parents=True, exist_ok=True)
            settings.save(config, folder / "config.yaml", overwrite=True, skip_validation=True)
        execute(run, parts, folder, command)
    except KeyboardInterrupt:
        say(
            f"\nInterrupted. Every complete epoch is kept; go on with: {command.removesuffix(' --resume')} --resume"
        )
        sys.exit(130)
    except ValueError as error:
        sys.exit(f"train.py: {error}")


def say(text: str) -> None:
    """Prints, from one process for all."""
    if is_main_process():
        print(text, flush=True)


def execute(run: Run, parts: Namespace, folder: Path, command: str) -> None:
    """Trains the field and the baseline and reports on both."""
    import lightning.pytorch as L

    from fields.checkpoints.checkpoint import save
    from fields.report.builder import ReportBuilder
    from fields.report.rollout import RolloutReport
    from fields.report.static import StaticReport
    from fields.training.fit import fit

    logging.basicConfig(format="%(message)s")
    logging.getLogger("fields").setLevel(
        logging.INFO
    )  # says what is held in memory and what is streamed
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    L.seed_everything(parts.model.seed, workers=True, verbose=False)
    data, task = parts.data, parts.model
    data.setup()
    options = {
        **vars(parts.trainer),
        "precision": precision(run.bf16),
        "enable_model_summary": False,
    }
    say(describe(data, options["precision"]))
    fit(task, data, folder / "checkpoints", resume=run.resume, **options)
    say(
        f"Trained {sum(p.numel() for p in task.model.parameters()):,} parameters in {task.elapsed:.0f} s."
    )
    still = data.schema.dt is None
    assembly: ReportBuilder = (
        StaticReport(data) if still else RolloutReport(data, quantities=quantities(data.source))
    )
    assembly.add(FIELD, task)
    if run.baseline:
        say(f"Training neuraloperator's FNO for the same {task.elapsed:.0f} s.")
        peer = baseline(data, seconds=task.elapsed, seed=task.seed)
        beside = {**options, "max_epochs": 100_000, "precision": "32-true"}
        try:
            fit(peer, data, folder / "checkpoints" / "fno", resume=run.resume, **beside)
        except (
            ValueError
        ) as error:  # a grid that the baseline cannot take is no reason to lose the field's report
            say(f"No baseline in this report: {error}")
        else:
            assembly.add("FNO (neuraloperator)", peer)
            card = assembly.card(command)
            if is_main_process():
                save(peer.model, folder / "fno.safetensors", card=card)
    report(folder, task.model, data, assembly, command)


def baseline(data: Any, *, seconds: float, seed: int) -> Any:
    """neuraloperator's FNO for so many seconds; repeated step by step in time."""
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


def quantities(source: Any) -> dict[str, Any]:
    """Invariants and Lyapunov functions of a problem of the catalogue; none for other data."""
    from datasets.__main__ import catalogue
    from datasets.evolution import Evolution

    problem = catalogue().get(source.attrs.get("problem", ""))
    if problem is None or not issubclass(problem, Evolution):
        return {}
    constants = json.loads(source.attrs["protocol"])["constants"]
    accepted = inspect.signature(problem).parameters
    made = problem(**{name: value for name, value in constants.items() if name in accepted})
    return made.conserved() | made.dissipated()


def describe(data: Any, precision: str) -> str:
    """One paragraph on what is about to be trained."""
    s = data.schema
    grid = "" if s.grid is None else f" on {'x'.join(map(str, s.grid))} points"
    machine = (precision, f"{torch.get_num_threads()} threads")
    return (
        f"{', '.join(s.inputs)} -> {', '.join(s.outputs)} over {', '.join(s.coords)}{grid}: {len(data.train)} training and "
        f"{len(data.val)} validation samples, tests at {', '.join(data.tests)}; {', '.join(filter(None, machine))}."
    )


def report(folder: Path, model: Any, data: Any, assembly: Any, command: str) -> None:
    """Checkpoint, table, pictures, ``report.json`` and ``report.html``."""
    from fields import report as page
    from fields.checkpoints.checkpoint import save

    card = assembly.card(command)  # of what all processes have tested
    if not is_main_process():
        return
    save(model, folder / "model.safetensors", card=card)
    dt, fine = data.schema.dt, "x".join(["256"] * data.schema.dim)
    asked = f"--at {fine}" if dt is None else f"--times [{dt / 2:g},{100 * dt:g}]"
    target = f"--out {folder / 'prediction.nc'}"
    results = assembly.results(
        title=f"{data.source.attrs.get('problem', Path(data.path).stem)}: {describe(data, '').split(':')[0]}",
        problem=describe(data, "").strip(),
        command=command,
        next_command=f"python -m fields predict {folder / 'model.safetensors'} {data.path} {asked} {target}",
    )
    page.print_table(results)
    written = page.write_report(results, folder)
    print("\n".join(f"wrote {path}" for path in (folder / "model.safetensors", *written)))
    print(f"next: {results.next_command}")


if __name__ == "__main__":
    main()
