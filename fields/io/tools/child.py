"""Run a tool for data files in a child process, which a damaged file may crash or keep busy.

The libraries that read HDF5 and MATLAB files do not survive every damaged file. A crash ends the
child, and one sentence of the caller says so. Opening the file may take 20 seconds of processor
time, which a loop in a library exceeds and waiting for a slow disk does not.

The child is ``python -m fields.io.tools.child``, with the call as JSON on its standard input and
the result as JSON on its standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fields.io.base import DataError

# Seconds of processor time in which a file must be opened.
OPENING_LIMIT = 20

# How the child is started.
COMMAND = [sys.executable, "-m", "fields.io.tools.child"]


def run_tool(
    tool: str, path: Path, *, mapping: Path | None = None, picture: Path | None = None
) -> Any:
    """The result of a tool for a file, computed in a child process.

    Args:
        tool: ``describe`` or ``validate``.
        path: the data file or directory.
        mapping: YAML file with a mapping, for a file of an unknown layout.
        picture: also draw one sample into this image file.

    Returns:
        What the tool returns, as it is after a conversion to JSON and back.

    Raises:
        DataError: the tool raised one, or the child was ended by a signal.
    """
    call = {"tool": tool, "path": path, "mapping": mapping, "picture": picture}
    done = subprocess.run(
        COMMAND,
        input=json.dumps(call, default=str),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if done.returncode == -signal.SIGXCPU:
        raise DataError(
            f"{path} is damaged: the library that reads it was not done after {OPENING_LIMIT} "
            "seconds of computing. Download or generate it again."
        )
    if done.returncode < 0:
        raise DataError(
            f"{path} is damaged: the library that reads it crashed "
            f"({signal.Signals(-done.returncode).name}). Download or generate it again."
        )
    if done.returncode > 0 or not done.stdout:
        raise DataError(f"{path} cannot be read: the program that reads it did not answer.")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise DataError(answer["error"])
    return answer["result"]


def _answer() -> None:
    """Read a call, run the tool and write its result."""
    call = json.loads(sys.stdin.read())
    output = sys.stdout
    sys.stdout = sys.stderr  # what libraries print does not belong to the result
    try:
        answer = {"result": _run(**call)}
    except (DataError, ModuleNotFoundError) as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{call['path']} needs more memory than this machine has."}
    except OSError as error:
        told = str(error) if error.strerror is None else f"{error.filename}: {error.strerror}."
        answer = {"error": told}
    except Exception as error:  # what it is, as one sentence instead of a traceback
        answer = {"error": f"{call['path']} cannot be read ({type(error).__name__}: {error})."}
    json.dump(answer, output, default=str)


def _run(tool: str, path: str, mapping: str | None, picture: str | None) -> Any:
    from fields.io.opening import open_dataset
    from fields.io.tools.describe import describe
    from fields.io.tools.validate import validate

    _limit_processor_time(OPENING_LIMIT)
    try:
        open_dataset(path, mapping=mapping).close()
    except DataError:  # the tool says more about it
        pass
    else:
        _limit_processor_time(None)
    if tool == "validate":
        return [finding._asdict() for finding in validate(Path(path), mapping)]
    content = describe(Path(path), mapping)
    if picture is not None and content["layout"] is not None:
        from fields.io.tools.preview import draw

        draw(open_dataset(path, mapping=mapping), Path(picture))
    return content


def _limit_processor_time(seconds: int | None) -> None:
    """From now on, end this process after so many seconds of computing; None for no limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = hard if seconds is None else int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    _answer()
