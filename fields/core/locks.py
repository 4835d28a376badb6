"""Locks on what only one process at a time may write."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def lock(path: str | Path, refusal: str) -> Iterator[None]:
    """Hold a lock file while the context lasts; the system frees it if the process dies.

    Args:
        path: the lock file, which is removed at the end.
        refusal: start of the message where another process holds the lock.

    Raises:
        ValueError: another process holds it; the message names the process and its host.
    """
    path = Path(path)
    descriptor = _locked(path, refusal)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, refusal: str) -> int:
    """The descriptor of the locked file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(f"{refusal} ({holder}). Wait until it has finished.") from None
        except OSError:  # a disk without locks
            pass
        # The previous holder may have removed the file between opening and locking.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                _sign(descriptor, path)
                return descriptor
        os.close(descriptor)


def _sign(descriptor: int, path: Path) -> None:
    """Write into the locked file who holds it."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
