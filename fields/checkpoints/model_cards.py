"""What checkpoints state about themselves: a table of the pretrained ones, and a page for each."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fields.checkpoints.card_text import (
    data_recipe,
    describe_domain,
    describe_training,
    error_rows,
    finite_or_inf,
    format_error,
    output_rows,
    processor_name,
    verdict_lines,
)
from fields.checkpoints.checkpoint import pretrained_files, read_header
from fields.core.printable import fenced, markdown

COLUMNS = ("name", "problem", "processor", "parameters", "error", "license")


@dataclass(frozen=True)
class PretrainedModel:
    """One line of the table of pretrained models.

    Args:
        name: what ``fields.load`` is given.
        problem: name of the problem.
        processor: class of the processor.
        parameters: number of parameters.
        error: mean relative L2 error over the test samples, as `primary_error`, with its place.
        license: of the weights.

    Example:
        >>> summarize(pretrained_files()[0]).processor
        'Transformer'
    """

    name: str
    problem: str
    processor: str
    parameters: int
    error: str
    license: str


class PretrainedTable(tuple[PretrainedModel, ...]):
    """The pretrained models, which print as a table.

    Example:
        >>> PretrainedTable([PretrainedModel("a", "heat", "Grand", 1234, "0.01 at 64", "MIT")])
        name  problem  processor  parameters  error       license
        a     heat     Grand           1,234  0.01 at 64  MIT
    """

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [COLUMNS]
        for model in self:
            values = asdict(model) | {"parameters": f"{model.parameters:,}"}
            rows.append(tuple(values[column] for column in COLUMNS))
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        align = ["<", "<", "<", ">", "<", "<"]
        lines = []
        for row in rows:
            cells = zip(row, align, widths, strict=True)
            lines.append("  ".join(f"{c:{a}{w}}" for c, a, w in cells).rstrip())
        return "\n".join(lines)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Convert to plain values, ready for JSON."""
        return [asdict(model) for model in self]


def list_pretrained() -> PretrainedTable:
    """List the models that come with the package, for ``fields.load(name)``.

    Only the headers of the files are read.

    Example:
        >>> [model.name for model in list_pretrained()][:2]
        ['advection', 'allen_cahn']
    """
    return PretrainedTable(summarize(path) for path in pretrained_files())


def summarize(path: Path) -> PretrainedModel:
    """Summarize a checkpoint in one line of the table."""
    header = read_header(path)
    card = header["card"]
    score = card["scores"][0]
    place = f"at {score['test']}" if "test" in score else f"at step {next(iter(score['error']))}"
    return PretrainedModel(
        name=path.stem,
        problem=data_recipe(card).get("problem") or Path(card["protocol"]["data"]).stem,
        processor=processor_name(header["model"]),
        parameters=score["parameters"],
        error=f"{format_error(primary_error(score), 2)} {place}",
        license=card.get("license", "MIT"),
    )


def primary_error(score: dict[str, Any]) -> float:
    """Read the mean error of the first test: the training resolution, or the training horizon.

    It is infinite where predictions were not finite, for which cards hold null.

    Example:
        >>> primary_error({"mean": 0.02}), primary_error({"error": {"4": 0.01, "8": 0.03}})
        (0.02, 0.01)
    """
    error = score["mean"] if "mean" in score else next(iter(score["error"].values()))
    return finite_or_inf(error)


def render_model_card(header: dict[str, Any], name: str, source: str) -> str:
    """Render a model card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        header: header of the checkpoint.
        name: title of the page.
        source: what ``fields.load`` is given to load the model.
    """
    card = header["card"]
    protocol = card.get("protocol", {})
    recipe = data_recipe(card) if protocol else {}
    sections = [
        _front_matter(str(card.get("license", "MIT")).lower()),
        f"# {markdown(name)}",
        _summary(header),
        _verdict(card.get("verdict")),
        _usage(source),
        _range(header),
        _errors(card.get("scores", [])),
        f"## Problem\n\n{fenced(recipe['recipe'])}" if "recipe" in recipe else "",
        _protocol(protocol),
        _invariant(card["certificate"]) if card.get("certificate") else "",
        f"## Limits\n\n{markdown(card['limits'])}" if "limits" in card else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(license: str) -> str:
    known = re.fullmatch(r"[\w.+-]+", license)
    lines = (
        "---",
        f"license: {license if known else 'other'}",
        "library_name: bracketfields",
        "tags: [pde, neural-operator, surrogate]",
        "---",
    )
    return "\n".join(lines)


def _summary(header: dict[str, Any]) -> str:
    schema = header["schema"]
    inputs, outputs, axes = (
        markdown(", ".join(schema[key])) for key in ("inputs", "outputs", "coords")
    )
    return (
        f"A conditional neural field from {inputs} to {outputs} over {axes}; "
        f"processor: {markdown(processor_name(header['model']))}."
    )


def _verdict(verdict: dict[str, Any] | None) -> str:
    """The verdict of the report, in bold and with a warning sign unless it is good."""
    headline, *remarks = verdict_lines(verdict) or [""]
    if not verdict or not headline:
        return ""
    sign = "" if verdict["level"] == "good" else "\u26a0\ufe0f "
    lines = [f"- {markdown(remark)}" for remark in remarks]
    return "\n".join([f"**{sign}{markdown(headline)}**", "", *lines]).rstrip()


def _usage(source: str) -> str:
    return (
        "```python\n"
        "import fields\n\n"
        f"model = fields.load({json.dumps(source)})\n"
        'out = model.predict(fields.open_dataset("mine.h5"))\n'
        "```"
    )


def _range(header: dict[str, Any]) -> str:
    lines = [*describe_domain(header["schema"]), *describe_training(header.get("training_range"))]
    return "\n".join(
        ["## Domain and training range", "", *(f"- {markdown(line)}" for line in lines)]
    )


def _errors(scores: list[dict[str, Any]]) -> str:
    rows = [*error_rows(scores), *output_rows(scores)]
    if not rows:
        return ""
    lines = [
        f"| {markdown(model)} | {markdown(place)} | {format_error(error)} |"
        for model, place, error in rows
    ]
    return "\n".join(
        ["## Test errors", "", "| model | where | relative L2 |", "|---|---|---|", *lines]
    )


def _protocol(protocol: dict[str, Any]) -> str:
    stated = {key: value for key, value in protocol.items() if key != "recipe" and value}
    if not stated:
        return ""
    return "\n".join(
        [
            "## Protocol",
            "",
            *(f"- {markdown(key)}: {markdown(_text(value))}" for key, value in stated.items()),
        ]
    )


def _invariant(certificate: dict[str, Any]) -> str:
    summary = (
        f"{certificate['law']} ({certificate['reach']}); {certificate['samples']} samples, "
        f"{certificate['steps']} steps: {certificate['verdict']}."
    )
    findings = [
        f"- {markdown(f['dtype'])}: largest violation {f['violation']:.1e} "
        f"(allowed {f['tolerance']:.0e}), {f['rejected_steps']} rejected steps"
        for f in certificate["findings"]
    ]
    return "\n".join(["## Law of the latent code", "", markdown(summary), "", *findings])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
