"""Statistics kept in ``FILE.statistics.json`` beside the file they are of, until the file changes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fields.data.scaling import Scaling, Standard, Statistics

KEPT = 16  # selections of one file (splits, strides, scalings) whose statistics are kept

Table = dict[str, Statistics]


def cached_statistics(
    path: Path, selection: Any, scalings: Mapping[str, Scaling], compute: Callable[[], Table]
) -> Table:
    """The statistics computed earlier for this selection of the file, if it has not changed since; else computed and kept.

    Args:
        path: the data file, or the folder of a dataset.
        selection: everything else that the statistics depend on; plain values and arrays.
        scalings: given back with the statistics, which the file cannot hold.
        compute: called if nothing is known.
    """
    file, stamp = path.with_name(path.name + ".statistics.json"), fingerprint(path)
    entries, key = (
        _read(file, stamp),
        digest([selection, sorted((n, type(s).__name__, s.by) for n, s in scalings.items())]),
    )
    if key in entries:
        return {
            name: _statistics(values, scalings.get(name, Standard()))
            for name, values in entries[key].items()
        }
    table = compute()
    entries[key] = {
        name: [None if value != value else value for value in s[:7]] for name, s in table.items()
    }
    newest = dict(list(entries.items())[-KEPT:])
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps({"file": stamp, "statistics": newest}, indent=1))
        os.replace(part, file)
    except OSError as error:
        warnings.warn(
            f"Statistics of {path} are computed anew in every run: {file} cannot be written ({error}).",
            stacklevel=2,
        )
    return table


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and time of the last change; of a folder, those of all files in it."""
    if not path.is_dir():
        return {"size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    facts = [
        (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns)
        for file in files
    ]
    return {"size": sum(size for _, size, _ in facts), "files": digest(facts)}


def digest(values: Any) -> str:
    """A short name for plain values and arrays."""
    plain = json.dumps(values, default=lambda value: np.asarray(value).tolist(), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:24]


def _read(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
        return known["statistics"] if known["file"] == stamp else {}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours: made anew
        return {}


def _statistics(values: list[Any], scaling: Scaling) -> Statistics:
    numbers = [math.nan if value is None else float(value) for value in values[:6]]
    return Statistics(
        *numbers, groups=tuple(tuple(map(float, row)) for row in values[6]), scaling=scaling
    )  # type: ignore[arg-type]
