"""How much memory this process may still take."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")  # where Linux keeps the limits of containers and batch jobs


def available() -> float:
    """Bytes: the least that the machine has free, that its cgroup leaves, and that limits of the process (ulimit) leave.

    Processes that torchrun started on one machine share what is free.
    """
    return max(
        0.0, min(*_process(), *_group(), _machine() / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    )


def _machine() -> float:
    lines = _table(Path("/proc/meminfo"))
    if "MemAvailable" in lines:
        return lines["MemAvailable"] * 1024
    with contextlib.suppress(
        ValueError, OSError, AttributeError
    ):  # macOS says how much there is, not how much is free
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    return 4e9


def _process() -> Iterator[float]:
    """What `ulimit -v` and `ulimit -d` leave."""
    yield float("inf")
    if sys.platform != "linux":
        return
    import resource

    used = _table(Path("/proc/self/status"))
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and name in used:
            yield most - used[name] * 1024


def _group() -> Iterator[float]:
    """What the memory controller leaves (version 2, then 1); files cached by the system do not count."""
    yield float("inf")
    own = _lines(Path("/proc/self/cgroup"))
    places = [GROUPS / line.split("::")[1].lstrip("/") for line in own if line.startswith("0::")]
    for place, limit, used in [(p, "memory.max", "memory.current") for p in (*places, GROUPS)] + [
        (GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
    ]:
        most, now = "".join(_lines(place / limit)), "".join(_lines(place / used))
        if most.isdigit() and now.isdigit():
            rows = [line.split() for line in _lines(place / "memory.stat")]
            cached = sum(int(row[1]) for row in rows if row[0] in ("inactive_file", "active_file"))
            yield int(most) - int(now) + cached


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _table(path: Path) -> dict[str, float]:
    """``Name:  123 kB`` -> {name: 123}."""
    rows = (line.split(":", 1) for line in _lines(path) if ":" in line)
    return {
        name: float(rest.split()[0])
        for name, rest in rows
        if rest.split() and rest.split()[0].isdigit()
    }
