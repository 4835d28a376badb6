"""Trains a conditional neural field, tests it, compares it and reports: `python train.py [--config FILE …] [--key value …]`."""

from __future__ import annotations

import difflib
import logging
import platform
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser, Namespace

ROOT = Path(__file__).parent
DEFAULT = ROOT / "configs" / "burgers.yaml"
FIELD = "field"


@dataclass
class Run:
    """One run and its folder.

    Args:
        name: the folder under ``folder``; by default the problem's name.
        folder: where runs are kept.
        resume: go on from the last complete epoch.
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
        close = [m for word in words if word not in known and "." in word for m in difflib.get_close_matches(word, known, 2, 0.6)]
        hint = f"\nDid you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
        sys.exit(f"train.py: {message}{hint}")


def parser() -> Parser:
    """All settings: run, make, model, data, trainer."""
    import lightning.pytorch as L

    from fields.datamodule import FieldDataModule
    from fields.task import FieldTraining

    out = Parser(description=__doc__, parser_mode="yaml")
    out.add_argument("--config", action="config", help="YAML file; later ones override earlier ones")
    out.add_argument("--resume", dest="run.resume", action="store_true", help="go on from the last complete epoch")
    out.add_class_arguments(Run, "run")
    out.add_argument("--make", type=dict[str, Any] | None, help="arguments of `python -m datasets`, used if data.path is missing")
    out.add_class_arguments(FieldTraining, "model")
    out.add_class_arguments(FieldDataModule, "data")
    out.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip={"callbacks", "logger", "default_root_dir", "precision"})
    return out


def precision(bf16: bool) -> str:
    """bf16-mixed if wanted and fast: on GPUs that have it and on CPUs with AMX (figures: benchmarks/precision.py)."""
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if bf16 and fast else "32-true"


def make(path: Path, recipe: dict[str, Any] | None) -> None:
    """Makes the data with the catalogue's generator if the file is not there."""
    if path.exists():
        return
    if recipe is None:
        sys.exit(f"train.py: there is no file {path}. Set data.path, or `make` to a problem of `python -m datasets --help`.")
    from datasets.__main__ import main as generate

    options = [word for key, value in recipe.items() if key != "problem" for word in (f"--{key}", str(value))]
    print(f"{path} is not there yet: making it.")
    generate([recipe["problem"], "--out", str(path), *options])


def main(argv: list[str] | None = None) -> None:
    """Data, training, test, baseline, report, checkpoint; every file under ``runs/NAME``."""
    argv = sys.argv[1:] if argv is None else argv
    command = " ".join(["python train.py", *argv])
    if not any(word.startswith("--config") for word in argv):
        argv = ["--config", str(DEFAULT), *argv]
    settings = parser()
    config = settings.parse_args(argv)
    make(Path(config.data.path), config.make)
    parts = settings.instantiate(config)
    run: Run = parts.run
    folder = Path(run.folder) / (run.name or Path(config.data.path).stem)
    folder.mkdir(parents=True, exist_ok=True)
    settings.save(config, folder / "config.yaml", overwrite=True)
    try:
        execute(run, parts, folder, command)
    except KeyboardInterrupt:
        sys.exit(f"\nInterrupted. The last complete epoch is kept; go on with: {command} --resume")


def execute(run: Run, parts: Namespace, folder: Path, command: str) -> None:
    """Trains the field and the baseline and reports on both."""
    import lightning.pytorch as L

    from fields.baselines.fno import FNO
    from fields.experiment import fit, score, score_mean
    from fields.task import BaselineTraining

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    L.seed_everything(parts.model.seed, workers=True, verbose=False)
    data, task = parts.data, parts.model
    data.setup()
    options = {**vars(parts.trainer), "precision": precision(run.bf16), "enable_model_summary": False}
    print(describe(data, options["precision"]))
    fit(task, data, folder / "checkpoints", resume=run.resume, **options)
    seconds = task.elapsed
    print(f"Trained {sum(p.numel() for p in task.model.parameters()):,} parameters in {seconds:.0f} s.")
    scores = score(FIELD, task.model, data)
    finite = [g for g in data.symmetries if "shift" not in g]
    if finite:
        scores += score(f"{FIELD}, {2 ** len(finite)} symmetries", task.model, data, symmetries=finite)
    scores += score_mean(data)
    histories = {FIELD: task.history}
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
        assert peer.model is not None  # composed when it was fitted
        scores += score("FNO (neuraloperator)", peer.model, data)
        histories["FNO (neuraloperator)"] = peer.history
    times = {name: seconds for name in dict.fromkeys(s.model for s in scores if s.parameters)}
    report(folder, task.model, data, scores, histories, seconds=times, command=command)


def describe(data: Any, precision: str) -> str:
    """One paragraph on what is about to be trained."""
    s = data.schema
    grid = "" if s.grid is None else f" on {'x'.join(map(str, s.grid))} points"
    return (
        f"{', '.join(s.inputs)} -> {', '.join(s.outputs)} over {', '.join(s.coords)}{grid}: {len(data.train)} training and "
        f"{len(data.val)} validation samples, tests at {', '.join(data.tests)}; {precision}, {torch.get_num_threads()} threads."
    )


def report(
    folder: Path, model: Any, data: Any, scores: list[Any], histories: dict[str, Any], *, seconds: dict[str, float], command: str
) -> None:
    """Checkpoint, table, pictures, ``report.json`` and ``report.html``."""
    from fields import report as page
    from fields.checkpoint import save

    protocol = {
        "data": data.path,
        "recipe": data.source.attrs.get("protocol", ""),
        "split": f"{len(data.train)} train, {len(data.val)} validation, {scores[0].samples} test",
        "seconds": seconds,
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "selection": "best validation error; the test split is used once",
        "command": command,
    }
    card = {"protocol": protocol, "scores": [asdict(one) for one in scores], "symmetries": data.symmetries}
    save(model, folder / "model.safetensors", card=card)
    rows = [
        page.Row(s.model, s.test, s.mean, s.median, s.worst, s.parameters, seconds.get(s.model), ours=s.model.startswith(FIELD))
        for s in scores
    ]
    results = page.Results(
        title=f"{data.source.attrs.get('problem', Path(data.path).stem)}: {describe(data, '').split(':')[0]}",
        problem=describe(data, "").strip(),
        rows=rows,
        protocol=protocol,
        command=command,
        summary=headline(scores),
        error_name="relative L2 of each test sample",
        histories={name: {"x": [h["epoch"] for h in log], "y": [h["val_error"] for h in log]} for name, log in histories.items()},
        pictures=pictures(model, data, scores, histories),
        next_command=f"python -m fields predict {folder / 'model.safetensors'} {data.path}"
        f" --at {'x'.join(['256'] * data.schema.dim)} --out {folder / 'prediction.nc'}",
    )
    page.print_table(results)
    written = page.write(results, folder)
    print("\n".join(f"wrote {path}" for path in (folder / "model.safetensors", *written)))
    print(f"next: {results.next_command}")


def headline(scores: list[Any]) -> str:
    """Ours against the baseline at the training resolution."""
    ours = scores[0].mean
    peers = [s for s in scores if s.model.startswith("FNO") and s.test == scores[0].test]
    if not peers:
        return f"Mean relative L2 {ours:.4f} at {scores[0].test} points."
    return f"Mean relative L2 {ours:.4f} at {scores[0].test} points: {ours / peers[0].mean:.2f} times FNO's {peers[0].mean:.4f}."


def pictures(model: Any, data: Any, scores: list[Any], histories: dict[str, Any]) -> list[Any]:
    """Median and worst sample, error against resolution, loss curves."""
    from fields import plot
    from fields.report import Picture
    from fields.sample import collate

    first = scores[0]
    cases = []
    for title, index in (("median test sample", first.median_index), ("worst test sample", first.worst_index)):
        sample = data.tests[first.test][index]
        with torch.no_grad():
            v_hat = model(collate([sample]))[0]
        cases.append(plot.Case.from_sample(sample, v_hat, model.schema, title=title))
    out = [Picture("samples", f"Median and worst test sample at {first.test} points.", plot.png(plot.sample_figure(cases)))]
    if data.schema.grid is not None and len(data.tests) > 1:
        names = dict.fromkeys(s.model for s in scores)
        lines = {n: [(int(s.test.split("x")[0]), s.mean) for s in scores if s.model == n] for n in names}
        curves = {n: plot.Curve(*map(np.array, zip(*sorted(points), strict=True))) for n, points in lines.items()}
        drawn = plot.png(plot.resolution_figure(curves, trained_at=data.schema.grid[0]))
        out.append(Picture("resolution", "Mean error against resolution; trained at the marked one only.", drawn))
    curves = {
        f"{name}, {which}": plot.Curve(np.array([h["seconds"] for h in log]), np.array([h[key] for h in log]))
        for name, log in histories.items()
        for which, key in (("training", "loss"), ("validation", "val_error"))
        if log
    }
    if curves:
        out.append(Picture("losses", "Losses in wall time.", plot.png(plot.loss_figure(curves, x_label="training time (s)"))))
    return out


if __name__ == "__main__":
    main()
