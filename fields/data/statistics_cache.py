"""Statistics stored in ``FILE.statistics.json`` beside the data file, valid until it changes."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fields.core.files import write_atomically
from fields.data.scaling import Scaling, Standard, Statistics

# The cache of one file holds the statistics of this many selections (splits, strides, scalings).
MAX_ENTRIES = 16

# Fields of `Statistics` that the cache holds: all but the scaling.
STORED = len(Statistics._fields) - 1


# Size of a sample of a file's content: files up to WHOLE bytes are read wholly, of longer ones
# BLOCKS blocks of BLOCK bytes at equal distances.
WHOLE = 4 * 2**20
BLOCKS = 256
BLOCK = 4096


def cached_statistics(
    path: Path,
    selection: Any,
    scalings: Mapping[str, Scaling],
    compute: Callable[[], dict[str, Statistics]],
) -> dict[str, Statistics]:
    """Statistics from the cache if the file has not changed since; else computed and stored.

    Args:
        path: the data file, or the folder of a dataset.
        selection: everything else that the statistics depend on; plain values and arrays.
        scalings: by variable. They are part of the key; the cache does not hold the objects, so
            they are attached to what is read from it.
        compute: called if the cache has no entry.
    """
    cache = path.with_name(path.name + ".statistics.json")
    stamp = fingerprint(path)
    entries = _read(cache, stamp)
    key = digest([selection, sorted((n, type(s).__name__, s.by) for n, s in scalings.items())])
    if key in entries:
        return {
            name: _from_json(values, scalings.get(name, Standard()))
            for name, values in entries[key].items()
        }
    statistics = compute()
    entries[key] = {name: _to_json(values) for name, values in statistics.items()}
    newest = dict(list(entries.items())[-MAX_ENTRIES:])
    try:
        write_atomically(cache, json.dumps({"file": stamp, "statistics": newest}, indent=1))
    except OSError as error:
        warnings.warn(
            f"The statistics of {path} are not cached and will be computed again in every run. "
            f"{error}",
            stacklevel=2,
        )
    return statistics


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and a digest of a sample of the content of a file, or of all files in a folder.

    The time of modification is not part of it: a copy of a file has the same fingerprint, and a
    file that is replaced by one of equal size and time has another one.
    """
    if not path.is_dir():
        return {"size": path.stat().st_size, "content": sampled_digest(path)}
    facts = [
        (str(file.relative_to(path)), file.stat().st_size, sampled_digest(file))
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return {"size": sum(size for _, size, _ in facts), "content": digest(facts)}


def sampled_digest(path: Path) -> str:
    """24 hexadecimal digits that depend on a file's size and on a sample of its content.

    Example:
        >>> import tempfile
        >>> a, b = (Path(tempfile.mkdtemp()) / "a" for _ in range(2))
        >>> a.write_bytes(bytes(8)), b.write_bytes(bytes(7) + b"1")
        (8, 8)
        >>> sampled_digest(a) == sampled_digest(b)
        False
    """
    size = path.stat().st_size
    sha = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE:
            sha.update(file.read())
        else:
            for i in range(BLOCKS):
                file.seek((size - BLOCK) * i // (BLOCKS - 1))
                sha.update(file.read(BLOCK))
    return sha.hexdigest()[:24]


def digest(values: Any) -> str:
    """The first 24 hexadecimal digits of the SHA-256 of plain values and arrays.

    Example:
        >>> digest({"samples": np.arange(3)}) == digest({"samples": [0, 1, 2]})
        True
    """
    plain = json.dumps(values, default=lambda value: np.asarray(value).tolist(), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:24]


def _read(cache: Path, stamp: dict[str, Any]) -> dict[str, Any]:
    """The entries of the cache; none if it is absent, unreadable, or older than the file."""
    try:
        content = json.loads(cache.read_text())
        return content["statistics"] if content["file"] == stamp else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _to_json(statistics: Statistics) -> list[Any]:
    """The stored fields in order; NaN, which JSON does not have, becomes null."""
    return [None if value != value else value for value in statistics[:STORED]]


def _from_json(values: list[Any], scaling: Scaling) -> Statistics:
    *numbers, groups = values[:STORED]
    rows = [tuple(map(float, row)) for row in groups]
    return Statistics(
        *(math.nan if value is None else float(value) for value in numbers),
        groups=tuple(rows),  # type: ignore[arg-type]
        scaling=scaling,
    )
