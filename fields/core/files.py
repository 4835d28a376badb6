"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Ending of every temporary file.
PART = ".part"

# Bytes of a temporary name that repeat the target's name, so that people recognize it.
RECOGNIZABLE = 80

# What the system's errors mean for a person who wanted to write a file.
REASONS = {
    errno.ENOSPC: "the disk is full. Free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up. Free some space or choose another folder",
    errno.EFBIG: "it would exceed the largest file size that is allowed here",
    errno.EROFS: "its folder is on a read-only disk. Choose another folder",
    errno.EACCES: "its folder does not permit it. Choose a folder that you may write to",
    errno.EPERM: "its folder does not permit it. Choose a folder that you may write to",
    errno.ENAMETOOLONG: "its path is too long. Choose a shorter one",
    errno.EIO: "the disk reports an input/output error",
}


class WriteError(OSError):
    """A file cannot be written; the message is a sentence for the user.

    Example:
        >>> str(WriteError("Cannot write a.h5: the disk is full."))
        'Cannot write a.h5: the disk is full.'
    """


@contextmanager
def atomic_path(path: str | Path, *, suffix: str = "") -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it when the context is left normally.

    Its name is unique, so that several writers of one target do not mix their bytes: the target is
    what the last of them wrote. On any failure the temporary file is removed and the target stays
    as it was. A symbolic link is kept, and the file that it leads to is replaced. The new file has
    the mode that the umask gives. Temporary files of dead processes are removed.

    Args:
        path: the target.
        suffix: of the temporary name, for writers that choose the format by it.

    Raises:
        WriteError: the target is not a regular file, its name is too long, its folder does not
            exist or cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_path(target) as part:
        ...     _ = part.write_text("complete")
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('complete', 1)
    """
    target = writable_target(path)
    _remove_abandoned(target)
    part = target.with_name(_temporary_name(target.name) + suffix)
    with explained(path):
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            os.close(descriptor)
            yield part
            _flush(part, mode)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: str | bytes | memoryview) -> None:
    """Write text (as UTF-8) or bytes to a file through `atomic_path`.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_atomically(target, "α")
        >>> target.read_bytes()
        b'\\xce\\xb1'
    """
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def writable_target(path: str | Path) -> Path:
    """The file that writing to ``path`` replaces: ``path`` itself, or what it links to.

    Raises:
        WriteError: no file can be written there.

    Example:
        >>> writable_target("/dev/null")
        Traceback (most recent call last):
        fields.core.files.WriteError: Cannot write /dev/null: it is not a regular file but a device.
    """
    with explained(path):
        target = Path(os.path.realpath(path))
        folder = target.parent
        if not folder.is_dir():
            reason = "is not a folder" if folder.exists() else "does not exist"
            raise WriteError(f"Cannot write {path}: its folder {folder} {reason}. Create it first.")
        longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if len(os.fsencode(target.name)) > longest:
            raise WriteError(
                f"Cannot write {_shortened(path)}: a file name may have at most {longest} bytes, "
                f"this one has {len(os.fsencode(target.name))}."
            )
        if target.is_dir():
            raise WriteError(f"Cannot write {path}: it is a folder. Add a file name.")
        if target.exists() and not target.is_file():
            raise WriteError(f"Cannot write {path}: it is not a regular file but a device.")
        if target.exists() and not os.access(target, os.W_OK):
            raise WriteError(f"Cannot write {path}: the file there is write-protected.")
    return target


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn the system's errors about a file that is written into a `WriteError`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = REASONS.get(error.errno or 0)
        names = {Path(name).parent for name in (path, os.path.realpath(path))}
        of_another_file = error.filename is not None and Path(error.filename).parent not in names
        if reason is None or of_another_file:
            raise
        raise WriteError(f"Cannot write {_shortened(path)}: {reason}.") from error


def check_not_source(target: str | Path, *sources: str | Path) -> None:
    """Refuse to write over what is read, under whatever name or link it is given.

    Args:
        target: the file that will be written.
        sources: files, or folders with files, that are read.

    Raises:
        ValueError: the target is one of the sources or a file in one of them.

    Example:
        >>> check_not_source("b.h5", "a.h5")
        >>> check_not_source("./a.h5", "a.h5")
        Traceback (most recent call last):
        ValueError: ./a.h5 is the file that is read (a.h5). Choose another name for the new file.
    """
    resolved = Path(os.path.realpath(target))
    for source in map(Path, sources):
        read = Path(os.path.realpath(source))
        inside = [file for file in read.rglob("*") if file.is_file()] if read.is_dir() else [read]
        if resolved == read or any(_same_file(resolved, file) for file in inside):
            raise ValueError(
                f"{target} is the file that is read ({source}). Choose another name for the new "
                "file."
            )


def recognizable(name: str) -> str:
    """A name, or its beginning and a digest where it is too long to add anything.

    Example:
        >>> recognizable("a.h5"), len(recognizable("a" * 255))
        ('a.h5', 89)
    """
    encoded = os.fsencode(name)
    if len(encoded) <= RECOGNIZABLE:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{os.fsdecode(encoded[:RECOGNIZABLE]).encode(errors='ignore').decode()}-{digest}"


def _temporary_name(name: str) -> str:
    """A name that no other writer chooses; it says which process writes."""
    host = re.sub(r"\W", "_", socket.gethostname())[:40]
    return f".{recognizable(name)}.{host}-{os.getpid()}-{secrets.token_hex(4)}{PART}"


def _remove_abandoned(target: Path) -> None:
    """Remove temporary files of this target whose process on this host is gone."""
    host = re.sub(r"\W", "_", socket.gethostname())[:40]
    pattern = re.escape(f".{recognizable(target.name)}.{host}-") + r"(\d+)-[0-9a-f]{8}\.part.*"
    for name in os.listdir(target.parent):
        match = re.fullmatch(pattern, name)
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):
                (target.parent / name).unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(part: Path, mode: int) -> None:
    """Bring the content to the disk, so that a crash after renaming does not leave an empty file.

    Some libraries replace the file by one that only its owner may read, so the mode is set again.
    """
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.chmod(part, mode)
    finally:
        os.close(descriptor)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def _shortened(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 120 else f"{text[:60]}…{text[-40:]}"
