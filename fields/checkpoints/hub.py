"""Models as folders that the Hugging Face hub understands.

A folder holds ``model.safetensors``, ``config.json`` and ``README.md``. Only the first is needed to
load the model; the other two repeat its header, for programs and for people.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fields.checkpoints.checkpoint import load, read_header, save
from fields.checkpoints.model_cards import render_model_card
from fields.checkpoints.remote import SCHEME, WEIGHTS, download, hub_library
from fields.core.files import write_atomically
from fields.core.protocols import Savable

CONFIG = "config.json"
CARD = "README.md"


def save_pretrained(model: Savable, folder: str | Path, *, source: str | None = None) -> Path:
    """Write the three files; the card is that of the model, if it was loaded from a checkpoint.

    Args:
        model: the model.
        folder: created if it does not exist.
        source: what the card tells readers to pass to ``fields.load``; the folder if not given.
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
        write_atomically(folder / name, text)
    return folder


def push_to_hub(
    model: Savable,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Model",
) -> str:
    """Upload the three files to ``org/name`` on the hub, and return the address.

    Args:
        model: the model.
        repo: the repository, created if it does not exist.
        private: whether a new repository is private.
        token: access token of the hub; its library's own login if not given.
        message: commit message.

    Raises:
        ModuleNotFoundError: huggingface-hub is not installed.
    """
    api = hub_library(f"push {repo!r}").HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, source=SCHEME + repo)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message))


def from_pretrained(
    folder_or_repo: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    trust: Sequence[str] = (),
) -> Any:
    """Load the model in a folder, or of ``org/name`` on the hub; no code from there is run.

    Args:
        folder_or_repo: a folder with ``model.safetensors``, or a repository of the hub.
        revision: branch, tag or commit of the repository.
        device: device of the model.
        trust: packages, besides ``fields``, whose components the file may use, as in `load`.

    Returns:
        The model, an instance of `fields.models.base.Operator`, in evaluation mode.

    Raises:
        FileNotFoundError: there is no such folder or repository, or the hub cannot be reached.
    """
    if Path(folder_or_repo).is_dir():
        return load(folder_or_repo, device=device, trust=trust)
    return load(download(str(folder_or_repo), revision=revision), device=device, trust=trust)
