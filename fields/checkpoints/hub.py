"""Models as folders that the Hugging Face hub understands: ``model.safetensors``, ``config.json``, ``README.md``.

``model.safetensors`` alone is the model; the other two repeat its header, for programs and for
people.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fields.checkpoints.checkpoint import load, read_header, save
from fields.checkpoints.model_cards import render_model_card
from fields.models.base import Operator

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

SCHEME = "hf://"


def save_pretrained(model: Operator, folder: str | Path, *, source: str | None = None) -> Path:
    """Writes the three files; the card is that of the model, if it was loaded from a checkpoint.

    Args:
        model: the model.
        folder: made if it is not there.
        source: what the page tells to load; the folder unless given.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder / WEIGHTS, card=getattr(model, "card", None))
    header = read_header(folder / WEIGHTS)
    source = source or str(folder)
    texts = {
        CONFIG: json.dumps(header, indent=2) + "\n",
        CARD: render_model_card(header, source.rstrip("/").rsplit("/", 1)[-1], source),
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, folder / name)
    return folder


def push_to_hub(
    model: Operator,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Model",
) -> str:
    """Uploads the three files to ``org/name`` on the hub, made if it is not there; returns its address.

    Raises:
        ModuleNotFoundError: huggingface-hub is not installed.
    """
    api = _library(f"push {repo!r}").HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, source=SCHEME + repo)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message))


def from_pretrained(
    folder_or_repo: str | Path, *, revision: str | None = None, device: str = "cpu"
) -> Operator:
    """The model in a folder, or of ``org/name`` on the hub; like any checkpoint, it runs no code from there.

    Args:
        folder_or_repo: a folder with ``model.safetensors``, or a repository of the hub.
        revision: of the repository: branch, tag or commit.
        device: where to.
    """
    if Path(folder_or_repo).is_dir():
        return load(folder_or_repo, device=device)
    return load(
        download(str(folder_or_repo).removeprefix(SCHEME), revision=revision), device=device
    )


def download(repo: str, *, revision: str | None = None) -> Path:
    """The weights of ``org/name`` in the hub's own cache.

    Raises:
        ModuleNotFoundError: huggingface-hub is not installed.
        FileNotFoundError: there is no such folder or repository, or the hub cannot be reached.
    """
    library = _library(f"load {repo!r}")
    try:
        return Path(library.hf_hub_download(repo, WEIGHTS, revision=revision))
    except (OSError, ValueError) as error:  # of the hub, of the net, of names that are none
        raise FileNotFoundError(
            f"There is no folder {repo!r}, and the hub gave no model of that name: {str(error).splitlines()[0]}"
        ) from error


def _library(purpose: str) -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"To {purpose} takes huggingface-hub. Run `pip install huggingface-hub`."
        ) from error
    return huggingface_hub
