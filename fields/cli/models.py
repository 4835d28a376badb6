"""Commands for trained models: list, verify."""

from __future__ import annotations

import json as json_
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def list_models(*, json: bool = False, markdown: bool = False) -> int:
    """List the trained models that come with the package; commands take them by name.

    Args:
        json: print JSON for programs.
        markdown: print the table of the README.
    """
    if markdown:
        from fields.checkpoints.markdown_table import pretrained_markdown

        print(pretrained_markdown())
        return 0
    from fields.checkpoints.model_cards import list_pretrained

    table = list_pretrained()
    if json:
        print(json_.dumps(table.to_dicts(), indent=2))
        return 0
    print(f"{table}\n\nerror: mean relative L2 over the test samples")
    if table:
        name = table[0].name
        print(f"next: python -m fields predict {name} FILE --at 256 --out prediction.nc")
    return 0


def verify_checkpoint(
    checkpoint: str,
    source: Path | None = None,
    *,
    samples: int = 8,
    steps: int = 1000,
    json: bool = False,
) -> int:
    """Certify the energy law of a trained model on real samples; the exit status is 1 if it fails.

    Args:
        checkpoint: a checkpoint file, or the name of a shipped model.
        source: a data file with the model's inputs; its test split is used if it records one. By
            default the inputs in the checkpoint, or the file that the model was tested on.
        samples: number of samples.
        steps: smallest length of the rollout, in steps of the flow; evolution models also go as far
            as their errors were measured, in frames.
        json: print JSON for programs.
    """
    from fields.checkpoints.checkpoint import load
    from fields.evaluation.verify import certify
    from fields.inference.queries import first_samples
    from fields.io import open_dataset

    model = load(checkpoint)
    card = getattr(model, "card", {})
    if source is None and model.examples is not None:
        inputs = model.examples
    else:
        inputs = open_dataset(_tested_on(checkpoint, card) if source is None else source)
    given = first_samples(model, inputs, samples=samples)
    certificate = certify(model, given, steps=steps, frames=_measured_frames(card))
    print(json_.dumps(certificate.to_dict(), indent=2) if json else certificate)
    return 0 if certificate.passed or not certificate.findings else 1


def _measured_frames(card: Mapping[str, Any]) -> int:
    """The last frame whose error a card states; 0 for maps without time."""
    scores = card.get("scores", ())
    return max((int(step) for score in scores for step in score.get("error", ())), default=0)


def _tested_on(checkpoint: str, card: dict[str, Any]) -> Path:
    """The data file that a checkpoint names.

    Raises:
        ValueError: it names none, or the file does not exist.
    """
    protocol = card.get("protocol", {})
    names = [*protocol.get("test_files", ()), *([protocol["data"]] if "data" in protocol else ())]
    found = next((Path(name) for name in names if Path(name).exists()), None)
    if found is None:
        said = (
            f"was tested on {' and '.join(names)}, which does not exist here"
            if names
            else "does not name the file that it was tested on"
        )
        raise ValueError(
            f"{checkpoint} {said}. Give a data file: python -m fields verify {checkpoint} FILE"
        )
    return found
