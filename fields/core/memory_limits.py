"""How much more memory this process may use."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")  # where Linux keeps the limits of containers and batch jobs


def available() -> float:
    """Estimate the available memory in bytes.

    This is the smallest of what is free on the machine, what remains within the limits of the
    control group, and what remains within the limits of the process (ulimit). Processes that
    torchrun started on one machine share what is free.
    """
    free = _free_on_machine() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0.0, min(*_left_by_process_limits(), *_left_by_group_limits(), free))


def _free_on_machine() -> float:
    entries = _table(Path("/proc/meminfo"))
    if "MemAvailable" in entries:
        return entries["MemAvailable"] * 1024
    # macOS reports how much memory there is, but not how much is free.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    return 4e9


def _left_by_process_limits() -> Iterator[float]:
    """Yield what ``ulimit -v`` and ``ulimit -d`` leave."""
    yield float("inf")
    if sys.platform != "linux":
        return
    import resource

    used = _table(Path("/proc/self/status"))
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and name in used:
            yield most - used[name] * 1024


def _left_by_group_limits() -> Iterator[float]:
    """Yield what the memory controllers (version 2, then 1) leave.

    Files that the system caches do not count as used, because it drops them on demand.
    """
    yield float("inf")
    own = _lines(Path("/proc/self/cgroup"))
    places = [GROUPS / line.split("::")[1].lstrip("/") for line in own if line.startswith("0::")]
    controllers = [(place, "memory.max", "memory.current") for place in (*places, GROUPS)]
    controllers.append((GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    for place, limit, used in controllers:
        most = "".join(_lines(place / limit))
        now = "".join(_lines(place / used))
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
    """Read rows such as ``Name:  123 kB`` into {name: 123}."""
    rows = (line.split(":", 1) for line in _lines(path) if ":" in line)
    numbers = {name: rest.split() for name, rest in rows}
    return {
        name: float(words[0]) for name, words in numbers.items() if words and words[0].isdigit()
    }
