"""Measurements that run in a process of their own, with memory of their own, and are remembered in files."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import platform
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def stamp(what: Any) -> str:
    """Sixteen characters that name whatever JSON can hold."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """What ``make`` gave, from the file if it was called before; an interrupted call leaves no file."""
    if not file.is_file():
        result = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(file)
    return json.loads(file.read_text())


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """``function(*arguments)`` in a process of its own, so that memory and processor time are its own too."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> int:
    """Bytes that this program held at its worst moment.

    ``ru_maxrss`` would begin with the peak of the process that started this one, so Linux is asked
    for its own figure.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(
            next(
                line for line in status.read_text().splitlines() if line.startswith("VmHWM")
            ).split()[1]
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if platform.system() == "Darwin" else 1024
    )
