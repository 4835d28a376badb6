"""Commands for data files: inspect, validate, repack."""

from __future__ import annotations

import json as json_
import signal
import sys
from pathlib import Path


def inspect_file(
    file: Path, *, mapping: Path | None = None, picture: Path | None = None, json: bool = False
) -> int:
    """Show what a file holds: layout, variables, coordinates, storage and reading speed.

    Args:
        file: a data file, or the folder of a dataset.
        mapping: YAML that names the arrays of a file of unknown layout.
        picture: also draw one sample into this image file.
        json: print JSON for programs.
    """
    from fields.core.files import check_not_source
    from fields.io.tools.child import run_tool

    if picture is not None:
        check_not_source(picture, file)
    about = run_tool("describe", file, mapping=mapping, picture=picture)
    if json:
        print(json_.dumps(about, indent=2, default=str))
    else:
        from fields.io.tools.terminal import show

        show(about)
    return 0 if about["layout"] is not None else 1


def validate_file(file: Path, *, mapping: Path | None = None, json: bool = False) -> int:
    """Read a whole file and list what is wrong with it; the exit status is 1 if there are errors.

    Args:
        file: a data file, or the folder of a dataset.
        mapping: YAML that names the arrays of a file of unknown layout.
        json: print JSON for programs.
    """
    from fields.io.base import DataError
    from fields.io.tools.child import run_tool
    from fields.io.tools.validate import Finding

    try:
        findings = [Finding(**f) for f in run_tool("validate", file, mapping=mapping)]
    except DataError as error:
        findings = [Finding("error", str(file), str(error))]
    if json:
        print(json_.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        from fields.io.tools.terminal import show_findings

        show_findings(file, findings)
    return int(any(finding.level == "error" for finding in findings))


def repack_file(
    source: Path,
    target: Path,
    *,
    mapping: Path | None = None,
    compression: str | None = None,
    json: bool = False,
) -> int:
    """Write a file of any layout in the native one, chunked by frame; continue if interrupted.

    Args:
        source: a data file, or the folder of a dataset.
        target: the new file.
        mapping: YAML that names the arrays of a file of unknown layout.
        compression: gzip or lzf; without it, files are fastest to read.
        json: print JSON for programs, and no progress.
    """
    from fields.io.tools.repack import repack
    from fields.io.tools.terminal import progress_bar

    # On SIGTERM the partial file is closed, so that the next call can continue it.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with progress_bar(quiet=json) as progress:
            repack(source, target, compression=compression, mapping=mapping, progress=progress)
    finally:
        signal.signal(signal.SIGTERM, before)
    written = {"target": str(target), "bytes": target.stat().st_size}
    print(json_.dumps(written) if json else f"{target} written and verified.")
    return 0
