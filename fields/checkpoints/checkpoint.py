"""One file that predicts: weights as safetensors, everything else in its JSON header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fields.core.component import build
from fields.core.moved_names import current_description, current_record, current_weight
from fields.core.sample import Schema
from fields.data.normalizer import Normalizer
from fields.models.base import Operator

FORMAT = 2

KEY = "bracketfields"


def save(model: Operator, path: str | Path, *, card: dict[str, Any] | None = None) -> None:
    """Writes weights, configuration, schema and statistics of a model to one safetensors file, atomically.

    Args:
        model: the trained model.
        path: the file; an existing one is replaced only when the new one is complete.
        card: training protocol, metrics and whatever else a reader should know; plain values.
    """
    header = {
        "format": FORMAT,
        "model": model.describe(),
        "schema": model.schema.to_dict(),
        "card": card or {},
    }
    shared = model.state_dict()  # of parts that share statistics, which a file holds apart
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in shared.items()}
    path = Path(path)
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={KEY: json.dumps(header)})
    os.replace(part, path)


def load(name_or_path: str | Path, *, device: str = "cpu") -> Operator:
    """The model in a checkpoint. Runs no code from the file.

    Args:
        name_or_path: a file, a folder with ``model.safetensors``, the name of a shipped model, or
            ``hf://org/name`` on the Hugging Face hub.
        device: where to.

    Raises:
        FileNotFoundError: no such file and no shipped model of that name.
        ValueError: not one of our checkpoints, or made by a newer version.
    """
    path = find(name_or_path)
    header = read_header(path)
    schema = Schema.from_dict(header["schema"])
    names = (*schema.inputs, *schema.outputs, *schema.params)
    normalizer = Normalizer(
        schema, dict.fromkeys(names, (0.0, 1.0))
    )  # the true statistics are among the weights
    model = build(header["model"], schema=schema, normalizer=normalizer)
    with safe_open(path, framework="pt") as file:
        rename = current_weight if header["format"] == 1 else str
        model.load_state_dict({rename(key): file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    model.card = header["card"]
    return model.to(device).eval()


def read_header(path: str | Path) -> dict[str, Any]:
    """Configuration, schema and card of a checkpoint, without its weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file ({error}). Give a checkpoint written by `fields.save`."
        ) from error
    if KEY not in metadata:
        raise ValueError(
            f"{path} is a safetensors file of another program: its header has no {KEY!r} entry."
        )
    header = json.loads(metadata[KEY])
    if header["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {header['format']}, this version reads up to {FORMAT}. Update bracketfields."
        )
    if header["format"] == 1:
        header = {
            **header,
            "model": current_description(header["model"]),
            "card": current_record(header["card"]),
        }
    return header


def find(name_or_path: str | Path) -> Path:
    """The file of a checkpoint: of a skip path if there is one, of the hub, else a shipped one of that name."""
    if str(name_or_path).startswith("hf://"):
        from fields.checkpoints.hub import download  # needs a library that is not always there

        return download(str(name_or_path).removeprefix("hf://"))
    path = Path(name_or_path)
    path = path / "model.safetensors" if path.is_dir() else path
    if path.is_file():
        return path
    known = {file.stem: file for file in shipped()}
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    raise FileNotFoundError(
        f"There is no file {str(path)!r} and no shipped model of that name; shipped are: {', '.join(known) or 'none'}."
    )


def shipped() -> list[Path]:
    """The checkpoints that come with the package."""
    return sorted((Path(__file__).parents[1] / "pretrained").glob("*.safetensors"))
