"""The table of the shipped models in Markdown, as the README shows it."""

from __future__ import annotations

from pathlib import Path

from fields.checkpoints.card_text import data_recipe, error_rows, format_error, processor_name
from fields.checkpoints.checkpoint import pretrained_files, read_header

HEAD = (
    "`fields.load`",
    "problem",
    "processor",
    "parameters",
    "relative L2 error",
    "for comparison",
)
LATER_STEP = "step 40"  # shown beside the first step of problems in time


def pretrained_markdown() -> str:
    """Render one row for every shipped model, from the cards in their files.

    Errors are those at the training resolution and at the last other one, or at the first step and
    at step 40; the comparisons are at the same places.

    Example:
        >>> pretrained_markdown().splitlines()[1]
        '|---|---|---|---:|---|---|'
    """
    rows = [_row(path) for path in pretrained_files()]
    return "\n".join([_line(HEAD), "|---|---|---|---:|---|---|", *map(_line, rows)])


def _row(path: Path) -> tuple[str, ...]:
    header = read_header(path)
    card = header["card"]
    scores = card["scores"]
    certificate = card.get("certificate")
    law = "; law holds" if certificate and certificate["verdict"] == "holds" else ""
    problem = data_recipe(card).get("problem") or Path(card["protocol"]["data"]).stem
    ours = scores[0]["model"]
    errors = {model: dict[str, float]() for model, _, _ in error_rows(scores)}
    for model, place, error in error_rows(scores):
        errors[model][place] = error
    places = _places(list(errors[ours]))
    others = [
        f"{model}: {_numbers(errors[model], places)}"
        for model in errors
        if not model.startswith(f"{ours},") and model != ours
    ]
    where = ", ".join(places)
    return (
        f"`{path.stem}`",
        problem.replace("_", " "),
        f"`{processor_name(header['model'])}`{law}",
        f"{scores[0]['parameters']:,}",
        f"{_numbers(errors[ours], places)} at {where}",
        "; ".join(others),
    )


def _places(known: list[str]) -> list[str]:
    """The first test, and a later step or the last other resolution."""
    later = [LATER_STEP] if LATER_STEP in known else [p for p in known if "step" not in p][-1:]
    return list(dict.fromkeys([known[0], *later]))


def _numbers(errors: dict[str, float], places: list[str]) -> str:
    return ", ".join(format_error(errors[place], 2) if place in errors else "–" for place in places)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
