"""Measurements in a process of their own, and results cached in JSON files."""

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

from fields.core.files import write_atomically

T = TypeVar("T")


def digest(value: Any) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of the value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def cached(file: Path, make: Callable[[], Any]) -> Any:
    """The content of the JSON file, which is written with the result of ``make`` if it is missing.

    The file is renamed into place when it is complete, so an interrupted call leaves none.
    """
    if not file.is_file():
        result = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(result))
    return json.loads(file.read_text())


def in_subprocess(function: Callable[..., T], *arguments: Any) -> T:
    """``function(*arguments)`` in a new process, so that its memory and CPU time are its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> int:
    """Peak resident memory of this process in bytes.

    On Linux it is read from ``/proc``, since ``ru_maxrss`` starts from the peak of the parent
    process.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
