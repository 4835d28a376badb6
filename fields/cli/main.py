"""The tools around files and checkpoints: ``python -m fields <command> …``.

A command is a function here: its parameters are the options, its docstring the help, its return
value the exit status. Heavy modules are imported inside the functions, so that ``--help`` answers
at once.
"""

from __future__ import annotations

import argparse
import difflib
import json as json_
import signal
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

from docstring_parser import parse


def inspect(
    file: Path, *, mapping: Path | None = None, picture: Path | None = None, json: bool = False
) -> int:
    """Says what a file holds: layout, variables, coordinates, how it is stored and how fast it is read.

    Args:
        file: a data file, or the folder of a dataset.
        mapping: YAML that names the arrays of a file of unknown layout.
        picture: also draw one sample into this image file.
        json: print JSON for programs.
    """
    from fields.io import open_dataset
    from fields.io.tools.describe import describe

    about = describe(file, mapping)
    if picture is not None and about["layout"] is not None:
        from fields.io.tools.preview import draw

        draw(open_dataset(file, mapping=mapping), picture)
    if json:
        print(json_.dumps(about, indent=2, default=str))
    else:
        from fields.io.tools.terminal import show

        show(about)
    return 0 if about["layout"] is not None else 1


def validate(file: Path, *, mapping: Path | None = None, json: bool = False) -> int:
    """Reads a whole file and says what is wrong with it; the exit status is 1 if there are errors.

    Args:
        file: a data file, or the folder of a dataset.
        mapping: YAML that names the arrays of a file of unknown layout.
        json: print JSON for programs.
    """
    from fields.io.tools.validate import validate as findings_of

    findings = findings_of(file, mapping)
    if json:
        print(json_.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        from fields.io.tools.terminal import show_findings

        show_findings(file, findings)
    return int(any(finding.level == "error" for finding in findings))


def repack(
    source: Path,
    target: Path,
    *,
    mapping: Path | None = None,
    compression: str | None = None,
    json: bool = False,
) -> int:
    """Writes a file of any layout anew in ours, chunked by frame; continues where it was interrupted.

    Args:
        source: a data file, or the folder of a dataset.
        target: the new file.
        mapping: YAML that names the arrays of a file of unknown layout.
        compression: gzip or lzf; none is fastest to read.
        json: print JSON for programs, and no progress.
    """
    from fields.io.tools.repack import repack as write
    from fields.io.tools.terminal import progress_bar

    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # closes the part, so that it can go on
    with progress_bar(quiet=json) as progress:
        write(source, target, compression=compression, mapping=mapping, progress=progress)
    print(
        json_.dumps({"target": str(target), "bytes": target.stat().st_size})
        if json
        else f"{target} written and verified."
    )
    return 0


def list_(*, json: bool = False) -> int:
    """Lists the trained models that come with the package; every command that takes a checkpoint takes their names.

    Args:
        json: print JSON for programs.
    """
    from fields.checkpoints.model_cards import list_pretrained

    table = list_pretrained()
    if json:
        print(json_.dumps(table.to_dicts(), indent=2))
    else:
        print(f"{table}\n\nerror: mean relative L2 over the test samples")
        print(
            f"next: python -m fields predict {table[0].name} FILE --at 256 --out prediction.nc"
            if table
            else ""
        )
    return 0


def predict(
    checkpoint: str,
    source: Path,
    *,
    out: Path,
    at: str | None = None,
    times: list[float] | None = None,
    symmetrize: bool = False,
    json: bool = False,
) -> int:
    """Predicts every sample of a file with a trained model and writes the fields as netCDF.

    Args:
        checkpoint: a checkpoint file, or the name of a shipped model.
        source: a data file of any layout, with the model's inputs.
        out: the file to write.
        at: points per axis of another regular grid over the domain, such as 256x256; by default the
            source's own points.
        times: of evolution problems, such as 0.1,0.25,3 from the last given frame; by default those
            that the source stores.
        symmetrize: average over the problem's mirror and swap symmetries, at a multiple of the
            cost.
        json: print JSON for programs.
    """
    import xarray as xr

    from fields.checkpoints.checkpoint import load
    from fields.inference.queries import regular_grid
    from fields.io import open_dataset
    from fields.io.native import write_dataset
    from fields.io.tools.terminal import progress_bar

    model, ds = load(checkpoint), open_dataset(source)
    symmetries = getattr(model, "card", {}).get("symmetries", ()) if symmetrize else ()
    points = None if at is None else regular_grid(at, model.schema)
    total, parts = ds.sizes.get("sample", 1), list[xr.Dataset]()
    with progress_bar(quiet=json) as progress:
        for start in range(0, total, TOGETHER):
            some = ds.isel(sample=slice(start, start + TOGETHER)) if "sample" in ds.dims else ds
            parts.append(model.predict(some, at=points, times=times, symmetries=symmetries))
            progress("predicting", min(start + TOGETHER, total), total)
    answer = (
        xr.concat(parts, "sample", data_vars="minimal", coords="minimal", compat="override")
        if len(parts) > 1
        else parts[0]
    )
    write_dataset(answer, out)
    names, sizes = ", ".join(map(str, answer.data_vars)), dict(answer.sizes)
    print(
        json_.dumps({"out": str(out), "sizes": sizes})
        if json
        else f"wrote {out}: {names} over {sizes}"
    )
    if not json:
        print(f"next: python -m fields inspect {out} --picture {out.with_suffix('.png')}")
    return 0


def verify(
    checkpoint: str,
    source: Path | None = None,
    *,
    samples: int = 8,
    steps: int = 1000,
    json: bool = False,
) -> int:
    """Rolls the latent code of real samples and certifies the energy law of a trained model; status 1 if a law is broken.

    Args:
        checkpoint: a checkpoint file, or the name of a shipped model.
        source: a data file with the model's inputs; its test split is used if it records one. By
            default the file that the model was tested on, as its checkpoint says.
        samples: how many of them.
        steps: how far to roll, in steps of the flow.
        json: print JSON for programs.
    """
    from fields.checkpoints.checkpoint import load
    from fields.evaluation.verify import certify
    from fields.inference.queries import first_samples
    from fields.io import open_dataset

    model = load(checkpoint)
    source = _tested_on(checkpoint, getattr(model, "card", {})) if source is None else source
    certificate = certify(
        model, first_samples(model, open_dataset(source), samples=samples), steps=steps
    )
    print(json_.dumps(certificate.to_dict(), indent=2) if json else certificate)
    return 0 if certificate.passed or not certificate.findings else 1


def _tested_on(checkpoint: str, card: dict[str, Any]) -> Path:
    """The data file that a checkpoint names."""
    protocol = card.get("protocol", {})
    names = [*protocol.get("test_files", ()), *([protocol["data"]] if "data" in protocol else ())]
    found = next((Path(name) for name in names if Path(name).exists()), None)
    if found is None:
        said = (
            f"was made with {' and '.join(names)}, which is not here"
            if names
            else "does not say what it was tested on"
        )
        raise ValueError(
            f"{checkpoint} {said}. Give a data file: python -m fields verify {checkpoint} FILE"
        )
    return found


COMMANDS: dict[str, Callable[..., int]] = {
    "list": list_,
    "predict": predict,
    "verify": verify,
    "inspect": inspect,
    "validate": validate,
    "repack": repack,
}

TOGETHER = 16  # samples predicted between two looks at the clock


class Parser(argparse.ArgumentParser):
    """Says what was meant when an option is unknown."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """All that is given must be known."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            sub = COMMANDS[found.command]
            known = [f"--{name}" for name in signature(sub).parameters]
            close = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            self.error(
                f"{found.command} has no option {unknown[0]}.{hint} See `python -m fields {found.command} --help`."
            )
        return found


def parser() -> Parser:
    """Commands from ``COMMANDS``: parameters without default are required, those after ``*`` options, bools are switches."""
    out = Parser(
        prog="python -m fields",
        description="Tools around data files and trained models.",
        allow_abbrev=False,
    )
    commands = out.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True, parser_class=Parser
    )
    for name, function in COMMANDS.items():
        about = parse(function.__doc__ or "")
        summary, texts = (
            about.short_description or "",
            {p.arg_name: p.description for p in about.params},
        )
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        types = get_type_hints(function)
        for key, p in signature(function).parameters.items():
            kind = (
                next((t for t in get_args(types[key]) if t is not type(None)), types[key])
                if p.default is None
                else types[key]
            )
            shown = f" (default: {p.default})" if p.default not in (p.empty, None, False) else ""
            words: dict[str, Any] = {"help": (texts[key] or "").rstrip(".") + shown}
            if kind is bool:
                sub.add_argument(f"--{key}", action="store_true", **words)
                continue
            words |= {"type": numbers if kind == list[float] else kind, "metavar": key.upper()}
            if p.kind is p.KEYWORD_ONLY:
                sub.add_argument(
                    f"--{key}", required=p.default is p.empty, default=p.default, **words
                )
            else:
                sub.add_argument(key, nargs="?" if p.default is None else None, **words)
    return out


def numbers(text: str) -> list[float]:
    """``0.1,0.25`` or ``[0.1,0.25]`` -> numbers."""
    return [float(word) for word in text.strip("[]").split(",")]


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command; problems with the data end in one sentence on stderr and status 2."""
    given = vars(
        parser().parse_args((list(sys.argv[1:]) if args is None else list(args)) or ["--help"])
    )
    try:
        return COMMANDS[given.pop("command")](**given)
    except (
        ValueError,
        FileNotFoundError,
        ModuleNotFoundError,
    ) as error:  # DataError is a ValueError
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nInterrupted; no file is half-written. Run the same command again (`repack` goes on).",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return 1
