"""A checkpoint's card as text: the problem, the domain, the training range, the errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fields.core.printable import printable


class ModelCard(dict[str, Any]):
    """The card of a loaded model: a dictionary of plain values that prints as text.

    Args:
        header: header of the checkpoint; the entries are those of its ``card``.

    Example:
        >>> import fields
        >>> card = fields.load("burgers").card
        >>> print(str(card).splitlines()[0])
        a -> u over x, processor Transformer
        >>> card["protocol"]["data"]
        'data/burgers.h5'
    """

    def __init__(self, header: Mapping[str, Any]):
        super().__init__(header["card"])
        self._header = header

    def __str__(self) -> str:
        try:
            return card_text(self._header)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # The card of another version or program, whose entries can be anything.
            return json.dumps(dict(self), indent=2, default=str)

    def __repr__(self) -> str:
        return str(self)


def card_text(header: Mapping[str, Any]) -> str:
    """Write the card of a checkpoint as text.

    Args:
        header: header of the checkpoint.

    Example:
        >>> from fields.checkpoints.checkpoint import find_checkpoint, read_header
        >>> text = card_text(read_header(find_checkpoint("heat")))
        >>> "domain      x in [0, 1), periodic" in text
        True
    """
    schema = header["schema"]
    card = header["card"]
    names = [", ".join(schema[key]) for key in ("inputs", "outputs", "coords")]
    title = f"{names[0]} -> {names[1]} over {names[2]}, processor {processor_name(header['model'])}"
    recipe = data_recipe(card) if card.get("protocol") else {}
    lines = [
        title,
        *_entry("verdict", "\n".join(verdict_lines(card.get("verdict")))),
        *_entry("problem", recipe.get("recipe", "").split("\nArgs:")[0]),
        *_entry("constants", _pairs(recipe.get("constants", {}))),
        *_entry("domain", "\n".join(describe_domain(schema))),
        *_entry("grid", _grid(schema)),
        *_entry("units", _pairs({k: v for k, v in schema["units"].items() if v != "1"})),
        *_entry("trained on", "\n".join(describe_training(header.get("training_range")))),
        *_entry("test errors", _errors(card.get("scores", []))),
        *_entry("law", _law(card.get("certificate"))),
        *_entry("limits", card.get("limits", "")),
        *_entry("provenance", _provenance(card)),
    ]
    return "\n".join(printable(line) for line in lines)


def _entry(name: str, text: str) -> list[str]:
    """The lines of one entry, indented under its name; none if there is nothing to say."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return [f"{name if i == 0 else '':<12}{line}".rstrip() for i, line in enumerate(lines)]


def describe_domain(schema: Mapping[str, Any]) -> list[str]:
    """Describe the bounds of every axis, one line each.

    Example:
        >>> describe_domain({"coords": ["x"], "bounds": [[0, 1]], "periodic": [True]})
        ['x in [0, 1), periodic']
    """
    axes = zip(schema["coords"], schema["bounds"], schema["periodic"], strict=True)
    return [
        f"{name} in [{low:g}, {high:g}" + ("), periodic" if periodic else "]")
        for name, (low, high), periodic in axes
    ]


def _grid(schema: Mapping[str, Any]) -> str:
    points = "scattered points" if schema["grid"] is None else "x".join(map(str, schema["grid"]))
    if schema["dt"] is None:
        return points
    return f"{points}, a frame every {schema['dt']:g}, {schema['history']} given"


def describe_training(seen: Mapping[str, Any] | None) -> list[str]:
    """Describe the ranges of the parameters and the statistics of the inputs, mean ± deviation.

    Args:
        seen: `fields.data.novelty.TrainingRange` as plain values; None if it is not known.

    Example:
        >>> known = {"names": ["mean of `a`"], "mean": [0], "scale": [1]}
        >>> seen = {"params": {"Re": (50, 493)}, **known}
        >>> describe_training(seen)
        ['Re from 50 to 493', 'mean of `a` 0 ± 1']
    """
    if seen is None:
        return []
    params = [f"{name} from {low:g} to {high:g}" for name, (low, high) in seen["params"].items()]
    statistics = [
        f"{name} {mean + 0.0:.3g} ± {scale:.2g}"
        for name, mean, scale in zip(seen["names"], seen["mean"], seen["scale"], strict=True)
        if not (name.startswith("variation") and mean == 0)  # scattered points have none
    ]
    return [*params, *statistics]


def _errors(scores: list[dict[str, Any]]) -> str:
    rows = [*error_rows(scores), *output_rows(scores)]
    return "\n".join(f"{model}, {place}: {format_error(error)}" for model, place, error in rows)


def verdict_lines(verdict: Mapping[str, Any] | None) -> list[str]:
    """The verdict of the report, with its remarks; nothing in cards that were made before.

    Example:
        >>> remark = {"text": "trained for one epoch only", "level": "warning"}
        >>> verdict_lines({"headline": "WORSE THAN persistence.", "remarks": [remark]})
        ['WORSE THAN persistence.', 'Trained for one epoch only.']
    """
    if not verdict:
        return []
    texts = [str(remark["text"]).rstrip(".") for remark in verdict["remarks"]]
    return [str(verdict["headline"]), *(f"{text[:1].upper()}{text[1:]}." for text in texts)]


def format_error(error: float, digits: int = 3) -> str:
    """A number of some digits, or that predictions were not finite.

    Example:
        >>> format_error(0.01234), format_error(math.inf)
        ('0.0123', 'not finite')
    """
    return f"{error:.{digits}g}" if math.isfinite(error) else "not finite"


def _law(certificate: Mapping[str, Any] | None) -> str:
    return f"{certificate['law']}: {certificate['verdict']}" if certificate else ""


def _provenance(card: Mapping[str, Any]) -> str:
    protocol = card.get("protocol", {})
    known = {key: protocol.get(key) for key in ("data", "split", "command", "machine")}
    lines = [f"{key}: {value}" for key, value in known.items() if value]
    return "\n".join([*lines, f"license: {card.get('license', 'MIT')}"])


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def data_recipe(card: dict[str, Any]) -> dict[str, Any]:
    """Read how the data were generated, as far as their file states it.

    Example:
        >>> data_recipe({"protocol": {"recipe": '{"problem": "heat"}'}})
        {'problem': 'heat'}
    """
    return json.loads(card["protocol"].get("recipe") or "{}")


def processor_name(model: dict[str, Any]) -> str:
    """Name the processor in a model's description, or the model if it has none.

    For a general flow the vector field follows in parentheses.

    Example:
        >>> processor_name({"class_path": "fields.baselines.fno.FNO", "init_args": {}})
        'FNO'
    """
    arguments = model["init_args"]
    part = arguments.get("propagator", {}).get("init_args", arguments).get("processor", model)
    field = part["init_args"].get("field")
    name = part["class_path"].rsplit(".", 1)[-1]
    return f"{name}({field['factory'].rsplit('.', 1)[-1]})" if isinstance(field, dict) else name


def error_rows(scores: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """List (model, where, relative L2 error) of all tests; infinite where it was not finite.

    Example:
        >>> error_rows([{"model": "field", "test": "64", "mean": 0.02}])
        [('field', '64', 0.02)]
    """
    rows = []
    for score in scores:
        errors = {f"step {step}": error for step, error in score.get("error", {}).items()}
        if "mean" in score:
            errors = {score["test"]: score["mean"]}
        for test, steps in score.get("elsewhere", {}).items():
            errors |= {f"step {step}, {test}": error for step, error in steps.items()}
        rows += [(score["model"], place, finite_or_inf(e)) for place, e in errors.items()]
    return rows


def output_rows(scores: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """List the same of every output, where there are several.

    Example:
        >>> output_rows([{"model": "field", "test": "64", "outputs": {"u": 0.1, "p": None}}])
        [('field', '64, output u', 0.1), ('field', '64, output p', inf)]
    """
    rows = []
    for score in scores:
        outputs = score.get("outputs", {})
        for name, values in outputs.items() if len(outputs) > 1 else ():
            steps = isinstance(values, dict)
            places = values if steps else {score["test"]: values}
            rows += [
                (
                    score["model"],
                    f"{'step ' if steps else ''}{place}, output {name}",
                    finite_or_inf(e),
                )
                for place, e in places.items()
            ]
    return rows


def finite_or_inf(error: float | None) -> float:
    """An error of a card, which holds null where predictions were not finite."""
    return math.inf if error is None else float(error)
