"""A model as one file: weights as safetensors, everything else in the file's JSON header."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from fields.checkpoints.card_text import ModelCard
from fields.checkpoints.limits import (
    MalformedError,
    build_checked,
    check_header,
    check_weight_values,
    read_schema,
)
from fields.checkpoints.remote import SCHEME, WEIGHTS, download
from fields.core.component import CheckpointError
from fields.core.files import write_atomically
from fields.core.moved_names import current_description, current_record, current_weight
from fields.core.protocols import Savable
from fields.data.examples import example_names, pack_examples, unpack_examples
from fields.data.novelty import TrainingRange

FORMAT = 2
KEY = "bracketfields"  # of the header's entry that is ours


def save(model: Savable, path: str | Path, *, card: dict[str, Any] | None = None) -> None:
    """Write weights, configuration, schema and statistics of a model to one safetensors file.

    An interruption or a failure leaves the old file as it was; see `fields.core.files`.

    Args:
        model: the trained model.
        path: the file; an existing one is replaced.
        card: training protocol, metrics and whatever else a reader should know, as plain values.

    Raises:
        WriteError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(load("burgers"), f"{folder}/copy.safetensors")
        ...     load(f"{folder}/copy.safetensors").schema.outputs
        ('u',)
    """
    header = {
        "format": FORMAT,
        "model": model.describe(),
        "schema": model.schema.to_dict(),
        "card": card or {},
    }
    if model.training_range is not None:
        header["training_range"] = model.training_range.to_dict()
    # Components may share a normalizer; safetensors needs each tensor to have memory of its own.
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    if model.examples is not None:
        inputs, header["examples"] = pack_examples(model.examples)
        tensors |= inputs
    # Python writes the bytes, so that a full disk is an OSError.
    write_atomically(path, to_bytes(tensors, metadata={KEY: json.dumps(header)}))


def load(name_or_path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> Any:
    """Load the model in a checkpoint, ready to predict; no code from the file is run.

    Args:
        name_or_path: a file, a folder with ``model.safetensors``, the name of a pretrained model of
            this package, or ``hf://org/name`` on the Hugging Face hub.
        device: device of the model.
        trust: packages, besides ``fields``, whose components the file may use. They are imported,
            which runs their code.

    Returns:
        The model, an instance of `fields.models.base.Operator`, in evaluation mode. Its ``card`` is
        what `save` was given, its ``examples`` a few inputs if the file holds any, else None.

    Raises:
        FileNotFoundError: there is no such file and no pretrained model of that name.
        CheckpointError: the file is not one of our checkpoints, is damaged, is of a newer format,
            asks for more than what it stores, or uses components of a package that is not trusted.
            It is a ValueError.
        ValueError: the device is not available.

    Example:
        >>> model = load("burgers")
        >>> type(model).__name__, model.training
        ('FieldOperator', False)
    """
    path = find_checkpoint(name_or_path)
    header = read_header(path)
    rename = current_weight if header["format"] == 1 else str
    with _explained(path), safe_open(path, framework="pt") as file:
        tensors = {rename(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        inputs = _take_examples(tensors, header)
        stored = {key: (list(value.shape), value.dtype) for key, value in tensors.items()}
        schema = read_schema(header["schema"])
        model: Any = build_checked(header["model"], schema, stored, trust)
        model.load_state_dict(tensors)
        check_weight_values(model)
    model.examples = inputs
    model.card = ModelCard(header)
    if "training_range" in header:
        with _explained(path):
            model.training_range = _training_range(header["training_range"])
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"The device {device!r} cannot be used here ({reason}). Load the model with "
            "device='cpu'."
        ) from error


def read_header(path: str | Path) -> dict[str, Any]:
    """Read configuration, schema and card of a checkpoint, without its weights.

    The header of a file of format 1 is returned in present names, with a warning for each class
    that has moved; see `fields.core.moved_names`.

    Raises:
        CheckpointError: the file is not one of our checkpoints, or is of a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a safetensors file ({error}). Give a checkpoint written by "
            "`fields.save`."
        ) from error
    if KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file of another program: its header has no {KEY!r} entry. "
            "Give a checkpoint written by `fields.save`."
        )
    with _explained(path):
        try:
            header = json.loads(metadata[KEY])
        except (ValueError, RecursionError):
            raise MalformedError(f"its header {KEY!r} is not JSON") from None
        check_header(header)
    if header["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {header['format']}, but this version reads formats up to {FORMAT}. "
            "Update bracketfields."
        )
    if header["format"] == 1:
        header["model"] = current_description(header["model"])
        header["card"] = current_record(header["card"])
    return header


def _take_examples(tensors: dict[str, Tensor], header: dict[str, Any]) -> Any:
    """Move the inputs that the header names out of the tensors, so that the weights are left."""
    if "examples" not in header:
        return None
    try:
        named = header["examples"]
        return unpack_examples({key: tensors.pop(key) for key in example_names(named)}, named)
    except Exception as error:
        raise MalformedError("its examples do not fit their entry in the header") from error


def _training_range(values: Any) -> TrainingRange:
    try:
        return TrainingRange.from_dict(values)
    except Exception as error:
        raise MalformedError(f"its training range is not one of this version ({error})") from error


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Add the file to the message of what is wrong with it."""
    try:
        yield
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Get it again.") from error
    except MalformedError as error:
        raise CheckpointError(
            f"{path} cannot be loaded: {error}. It is damaged, or was written by another version. "
            "Get it again, or update bracketfields."
        ) from error.__cause__


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Find the file of a checkpoint: a path, a model on the hub, or a pretrained model's name.

    Raises:
        FileNotFoundError: there is none.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise FileNotFoundError(
            f"{name_or_path!r} is neither the name of a pretrained model nor a path. Give one of "
            "them as text."
        )
    if str(name_or_path).startswith(SCHEME):
        return download(str(name_or_path))
    path = Path(name_or_path)
    path = path / WEIGHTS if path.is_dir() else path
    if path.is_file():
        return path
    known = {file.stem: file for file in pretrained_files()}
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    raise FileNotFoundError(
        f"There is no file {str(path)!r} and no pretrained model of that name. Pretrained models "
        f"are: {', '.join(known) or 'none'}."
    )


def pretrained_files() -> list[Path]:
    """List the checkpoints that come with the package, by name.

    Example:
        >>> pretrained_files()[0].name
        'advection.safetensors'
    """
    return sorted((Path(__file__).parents[1] / "pretrained").glob("*.safetensors"))
