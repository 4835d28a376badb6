"""Files of models on the Hugging Face hub, through its own library, which is optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
SCHEME = "hf://"


def download(repo: str, *, revision: str | None = None) -> Path:
    """Download the weights of ``org/name`` into the hub's own cache.

    Args:
        repo: the repository, with or without ``hf://`` before it.
        revision: branch, tag or commit; the default branch if not given.

    Raises:
        ModuleNotFoundError: huggingface-hub is not installed.
        FileNotFoundError: there is no such repository, or the hub cannot be reached.
    """
    repo = repo.removeprefix(SCHEME)
    library = hub_library(f"load {repo!r}")
    try:
        return Path(library.hf_hub_download(repo, WEIGHTS, revision=revision))
    except (OSError, ValueError) as error:  # of the hub, of the network, of invalid names
        raise FileNotFoundError(
            f"There is no folder {repo!r}, and the Hugging Face hub did not provide a model of "
            f"that name: {str(error).splitlines()[0]}"
        ) from error


def hub_library(purpose: str) -> Any:
    """Import huggingface-hub.

    Args:
        purpose: what it is needed for, as the error message says it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The package huggingface-hub is needed to {purpose}. "
            "Run `pip install huggingface-hub`."
        ) from error
    return huggingface_hub
