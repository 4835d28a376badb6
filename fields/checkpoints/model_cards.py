"""What checkpoints say of themselves: a table of the shipped ones, and a page for each."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from fields.checkpoints.checkpoint import read_header, shipped

COLUMNS = ("name", "problem", "processor", "parameters", "error", "license")


@dataclass(frozen=True)
class Entry:
    """One line of the table; the error is the mean relative L2 over the test samples, where the card begins to count."""

    name: str
    problem: str
    processor: str
    parameters: int
    error: str
    license: str


class Shipped(tuple[Entry, ...]):
    """The shipped models; printed, a table."""

    def __repr__(self) -> str:
        rows = [COLUMNS, *((*astuple(e)[:3], f"{e.parameters:,}", *astuple(e)[4:]) for e in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(
                f"{cell:{'>' if i == 3 else ''}{widths[i]}}" for i, cell in enumerate(row)
            ).rstrip()
            for row in rows
        ]
        return "\n".join(lines)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [asdict(entry) for entry in self]


def list_pretrained() -> Shipped:
    """The models that come with the package, for ``fields.load(name)``; their weights are not read.

    Example:
        >>> [entry.name for entry in list_pretrained()][:1]
        ['burgers']
    """
    return Shipped(entry(path) for path in shipped())


def entry(path: Path) -> Entry:
    """A checkpoint in one line."""
    header = read_header(path)
    card, first = header["card"], header["card"]["scores"][0]
    where = f"at {first['test']}" if "test" in first else f"at step {next(iter(first['error']))}"
    return Entry(
        name=path.stem,
        problem=recipe(card).get("problem") or Path(card["protocol"]["data"]).stem,
        processor=processor(header["model"]),
        parameters=first["parameters"],
        error=f"{headline(first):.2g} {where}",
        license=card.get("license", "MIT"),
    )


def recipe(card: dict[str, Any]) -> dict[str, Any]:
    """How the data were made, as far as their file says."""
    return json.loads(card["protocol"]["recipe"] or "{}")


def headline(score: dict[str, Any]) -> float:
    """The mean error that comes first: at the training resolution, or at the end of a training window."""
    return score["mean"] if "mean" in score else next(iter(score["error"].values()))


def processor(model: dict[str, Any]) -> str:
    """Name of a model's processor, or of the model if it has none; of a general flow also the field."""
    arguments = model["init_args"]
    part = arguments.get("propagator", {}).get("init_args", arguments).get("processor", model)
    field = part["init_args"].get("field")
    name = part["class_path"].rsplit(".", 1)[-1]
    return f"{name}({field['factory'].rsplit('.', 1)[-1]})" if isinstance(field, dict) else name


def render_model_card(header: dict[str, Any], name: str, source: str) -> str:
    """A model card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        header: of the checkpoint.
        name: of the model.
        source: what ``fields.load`` is given to get it.
    """
    card, schema = header["card"], header["schema"]
    protocol, license = card.get("protocol", {}), card.get("license", "MIT").lower()
    about = recipe(card) if protocol else {}
    front = [
        "---",
        f"license: {license}",
        "library_name: bracketfields",
        "tags: [pde, neural-operator, surrogate]",
        "---",
    ]
    use = [
        "import fields",
        "",
        f'model = fields.load("{source}")',
        'out = model.predict(fields.open_dataset("mine.h5"))',
    ]
    given, wanted, axes = (", ".join(schema[key]) for key in ("inputs", "outputs", "coords"))
    rows = [f"| {' | '.join(cells)} |" for cells in _scores(card.get("scores", []))]
    kept = {key: value for key, value in protocol.items() if key != "recipe" and value}
    parts = [
        "\n".join(front),
        f"# {name}",
        f"A conditional neural field from {given} to {wanted} over {axes}; processor: {processor(header['model'])}.",
        "\n".join(["```python", *use, "```"]),
        "\n".join(["## Test errors", "", "| model | where | relative L2 |", "|---|---|---|", *rows])
        if rows
        else "",
        f"## Problem\n\n```text\n{about['recipe']}\n```" if "recipe" in about else "",
        "\n".join(
            ["## Protocol", "", *(f"- {key}: {_plain(value)}" for key, value in kept.items())]
        )
        if kept
        else "",
        _law(card["certificate"]) if card.get("certificate") else "",
        f"## Limits\n\n{card['limits']}" if "limits" in card else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _law(certificate: dict[str, Any]) -> str:
    found = [
        f"- {f['dtype']}: largest violation {f['violation']:.1e} (allowed {f['tolerance']:.0e}), {f['rejected_steps']} rejected_steps"
        for f in certificate["findings"]
    ]
    about = f"{certificate['law']} ({certificate['reach']}); {certificate['samples']} samples, {certificate['steps']} steps"
    return "\n".join(
        ["## Law of the latent code", "", f"{about}: {certificate['verdict']}.", "", *found]
    )


def _scores(scores: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    rows = []
    for s in scores:
        each = (
            {s["test"]: s["mean"]}
            if "mean" in s
            else {f"step {step}": error for step, error in s["error"].items()}
        )
        for test, errors in s.get("elsewhere", {}).items():
            each |= {f"step {step}, {test}": error for step, error in errors.items()}
        rows += [(s["model"], where, f"{error:.3g}") for where, error in each.items()]
    return rows


def _plain(value: Any) -> str:
    return (
        ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
        if isinstance(value, dict)
        else str(value)
    )
