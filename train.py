"""Train a conditional neural field, test it, compare it, and write a report: `python train.py [--config FILE …] [--key value …]`."""

from __future__ import annotations

import difflib
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace

ROOT = Path(__file__).parent
DEFAULT = ROOT / "configs" / "burgers.yaml"


@dataclass
class Run:
    """One run and its folder.

    Args:
        name: the folder under ``folder``; by default the problem's name.
        folder: where runs are kept.
        resume: go on from the last complete epoch.
        baseline: also train neuraloperator's FNO on the same data for the same wall time.
        bf16: bfloat16 matrix products (float32 weights); None: where the machine multiplies them faster.
    """

    name: str | None = None
    folder: str = "runs"
    resume: bool = False
    baseline: bool = True
    bf16: bool | None = None


class Parser(ArgumentParser):
    """Says what was meant when a key is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Prints the sentence and the closest known keys."""
        known = {key.lstrip("-") for action in self._actions for key in action.option_strings}
        words = [word.strip("'\"-:,.").split("=")[0] for word in message.replace("=", " ").split()]
        close = [m for word in words if word not in known and "." in word for m in difflib.get_close_matches(word, known, 2, 0.6)]
        hint = f"\nDid you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
        sys.exit(f"train.py: {message}{hint}")


def parser() -> Parser:
    """All settings: run, make, model, data, trainer."""
    import lightning.pytorch as L  # noqa: N812

    from fields.datamodule import FieldDataModule
    from fields.task import FieldTraining

    out = Parser(description=__doc__, parser_mode="yaml")
    out.add_argument("--config", action="config", help="YAML file; later ones override earlier ones")
    out.add_argument("--resume", dest="run.resume", action="store_true", help="go on from the last complete epoch")
    out.add_class_arguments(Run, "run")
    out.add_argument("--make", type=dict[str, Any] | None, default=None, help="arguments of `python -m datasets` if data.path is missing")
    out.add_class_arguments(FieldTraining, "model")
    out.add_class_arguments(FieldDataModule, "data")
    out.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip={"callbacks", "logger", "default_root_dir", "precision"})
    return out


def precision(bf16: bool | None) -> str:
    """bf16-mixed where bfloat16 products are faster: on GPUs that have them and on CPUs with AMX (benchmarks/precision.py)."""
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if (fast if bf16 is None else bf16) else "32-true"


def make(path: Path, recipe: dict[str, Any] | None) -> None:
    """Makes the data with the catalogue's generator if the file is not there."""
    if path.exists():
        return
    if recipe is None:
        sys.exit(f"train.py: there is no file {path}. Set data.path, or `make` to a problem of the catalogue (python -m datasets --help).")
    from datasets.__main__ import main as generate

    options = [word for key, value in recipe.items() if key != "problem" for word in (f"--{key}", str(value))]
    print(f"{path} is not there yet: making it.")
    generate([recipe["problem"], "--out", str(path), *options])


def main(argv: list[str] | None = None) -> None:
    """Data, training, test, baseline, report, checkpoint; every file under ``runs/NAME``."""
    argv = sys.argv[1:] if argv is None else argv
    if not any(word.startswith("--config") for word in argv):
        argv = ["--config", str(DEFAULT), *argv]
    settings = parser()
    config = settings.parse_args(argv)
    make(Path(config.data.path), config.make)
    parts = settings.instantiate_classes(config)
    run: Run = parts.run
    folder = Path(run.folder) / (run.name or Path(config.data.path).stem)
    folder.mkdir(parents=True, exist_ok=True)
    settings.save(config, folder / "config.yaml", overwrite=True, skip_none=False)
    try:
        execute(run, parts, folder)
    except KeyboardInterrupt:
        sys.exit(f"\nInterrupted. The last complete epoch is kept; go on with: python train.py {' '.join(argv)} --resume")


def execute(run: Run, parts: Namespace, folder: Path) -> None:
    """Trains the field and the baseline and reports on both."""
    import lightning.pytorch as L  # noqa: N812

    from fields.baselines.fno import FNO
    from fields.experiment import fit, score, score_mean
    from fields.task import BaselineTraining

    L.seed_everything(parts.model.seed, workers=True, verbose=False)
    data, task = parts.data, parts.model
    data.setup()
    options = {**vars(parts.trainer), "precision": precision(run.bf16)}
    print(describe(data, options["precision"]))
    start = time.perf_counter()
    fit(task, data, folder / "checkpoints", resume=run.resume, **options)
    seconds = task.elapsed
    print(f"Trained {sum(p.numel() for p in task.model.parameters()):,} parameters in {seconds:.0f} s.")
    scores = score("conditional neural field", task.model, data)
    finite = [g for g in data.symmetries if "shift" not in g]
    if finite:
        scores += score(f"the same, averaged over {2 ** len(finite)} symmetries", task.model, data, symmetries=finite)
    scores += score_mean(data)
    histories = {"conditional neural field": task.history}
    if run.baseline:
        print(f"Training neuraloperator's FNO for the same {seconds:.0f} s.")
        grid = data.schema.grid
        peer = BaselineTraining(
            lambda **given: FNO(modes=min(16, min(grid) // 2), **given),
            optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-4),
            augment=all(data.schema.homogeneous),
            seconds=seconds,
            seed=task.seed,
        )
        fit(peer, data, folder / "checkpoints" / "fno", **{**options, "max_epochs": 100_000, "precision": "32-true"})
        scores += score("FNO (neuraloperator)", peer.model, data)
        histories["FNO (neuraloperator)"] = peer.history
    report(folder, task.model, data, scores, histories, seconds=time.perf_counter() - start)
