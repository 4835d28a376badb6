"""The folder of a run: which one is taken, who may write it, and what a resumed run may change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fields.core.files import explained, write_atomically
from fields.core.locks import lock
from fields.data.statistics_cache import fingerprint
from fields.training.settings import Run

CONFIG = "config.yaml"
DATA = "data.json"  # fingerprints of the files that the run was trained and tested on

# Settings that a resumed run may change without a word, and those whose change is told.
SILENT = ("config", "base", "run.name", "run.folder", "run.resume", "run.overwrite")
CHANGEABLE = (
    "run", "report", "make", "model.seconds",
    "data.path", "data.test_paths", "data.workers", "data.start_method", "data.memory",
    "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.enable_progress_bar",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
    "trainer.limit_test_batches", "trainer.log_every_n_steps", "trainer.enable_model_summary",
)  # fmt: skip


@contextmanager
def open_run_folder(run: Run, data_path: str) -> Iterator[Path]:
    """Choose the folder of a run, create it and keep other processes from writing it.

    A new run does not touch the results of another one: where ``NAME`` holds a trained model or the
    checkpoints of an interrupted run, the folder is ``NAME-2``, ``NAME-3`` and so on, unless
    ``run.overwrite`` is set. With ``run.resume`` it is always ``NAME``.

    Raises:
        ValueError: another process is writing the folder.
        WriteError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with open_run_folder(Run(folder=tempfile.mkdtemp()), "data/heat.h5") as folder:
        ...     folder.name, [path.name for path in folder.iterdir()]
        ('heat', ['.lock'])
    """
    name = run.name or Path(data_path).stem
    number = 1
    while True:
        folder = Path(run.folder) / (name if number == 1 else f"{name}-{number}")
        with explained(folder), _locked(folder):
            if run.resume or run.overwrite or not _holds_a_run(folder):
                yield folder
                return
        number += 1


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(
            f"The run cannot be written to {folder}, because that path or a part of it is a file. "
            "Set `run.folder` or `run.name`."
        ) from None
    with lock(folder / ".lock", f"another run is using the folder {folder}"):
        yield


def _holds_a_run(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() or (folder / "checkpoints/last.ckpt").exists()


def write_settings(folder: Path, settings: str, data: Any) -> None:
    """Write the settings of a run and the fingerprints of its data files.

    Args:
        folder: of the run.
        settings: as YAML.
        data: its section ``data``.
    """
    write_atomically(folder / CONFIG, settings)
    prints = {str(path): fingerprint(Path(path)) for path in (data.path, *data.test_paths)}
    write_atomically(folder / DATA, json.dumps(prints, indent=1) + "\n")


def check_resumable(folder: Path, settings: str, data: Any) -> list[str]:
    """Compare the settings and the data of a resumed run with those that it was started with.

    Args:
        folder: of the run.
        settings: the present ones, as YAML.
        data: their section ``data``.

    Returns:
        Sentences on changes that do not affect the steps that are already done.

    Raises:
        ValueError: the run cannot be continued with these settings or data.
    """
    if not (folder / CONFIG).is_file() or not (folder / "checkpoints/last.ckpt").is_file():
        return []
    changes = compare_settings((folder / CONFIG).read_text(), settings)
    told = {key: change for key, change in changes.items() if _is_in(key, CHANGEABLE)}
    refused = [change for key, change in changes.items() if key not in told]
    if (folder / DATA).is_file():
        before = json.loads((folder / DATA).read_text())
        old_path = yaml.safe_load((folder / CONFIG).read_text())["data"]["path"]
        if before.get(old_path) not in (None, fingerprint(Path(data.path))):
            refused.append(f"the content of {data.path} differs from what was trained on")
    if refused:
        raise ValueError(
            f"`--resume` cannot continue {folder} with changed settings: {'; '.join(refused)}. "
            f"Use the settings of {folder / CONFIG}, or omit `--resume` to start a new run."
        )
    return [f"Changed since the run was started: {change}." for change in told.values()]


def compare_settings(before: str, after: str) -> dict[str, str]:
    """What differs between two settings in YAML, by key; keys that only one version knows do not.

    Example:
        >>> compare_settings("model: {dim: 16, new: 1}", "model: {dim: 32}")
        {'model.dim': '`model.dim` was 16 and is 32'}
    """
    old = dict(_leaves(yaml.safe_load(before)))
    new = dict(_leaves(yaml.safe_load(after)))
    out = {}
    for key in dict.fromkeys([*old, *new]):
        known = all(_has_place(key, side) for side in (old, new))
        if known and old.get(key) != new.get(key) and not _is_in(key, SILENT):
            out[key] = f"`{key}` was {old.get(key, 'unset')} and is {new.get(key, 'unset')}"
    return out


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted keys; a list is one value."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _has_place(key: str, leaves: dict[str, Any]) -> bool:
    """Whether the key, something that contains it, or something in it has a value."""
    return any(
        key == leaf or key.startswith(f"{leaf}.") or leaf.startswith(f"{key}.") for leaf in leaves
    )


def _is_in(key: str, places: tuple[str, ...]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)
