"""PDE surrogates with conditional neural fields.

    model = fields.load("runs/burgers/model.safetensors")
    ds = fields.open_dataset("mine.h5")
    out = model.predict(ds, at={"x": xs})

Names are imported when they are first used, so that ``python -m fields --help`` does not wait for
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fields.checkpoints.checkpoint import save
    from fields.checkpoints.model_cards import list_pretrained
    from fields.core.sample import Latent, Sample, Schema, collate
    from fields.inference.export import export
    from fields.io import DataError, open_dataset, write_dataset
    from fields.models.base import Operator
    from fields.models.ensemble import Ensemble
    from fields.models.evolution import EvolutionOperator
    from fields.models.static import FieldOperator

    __version__: str

    # The rooms that define these two stand below `models` and cannot name their type.
    def load(
        name_or_path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()
    ) -> Operator:
        """Load a model; see `fields.checkpoints.checkpoint.load`."""
        ...

    def from_pretrained(
        folder_or_repo: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        trust: Sequence[str] = (),
    ) -> Operator:
        """Load a shared model; see `fields.checkpoints.hub.from_pretrained`."""
        ...


__all__ = [
    "DataError",
    "Ensemble",
    "EvolutionOperator",
    "FieldOperator",
    "Latent",
    "Sample",
    "Schema",
    "__version__",
    "collate",
    "export",
    "from_pretrained",
    "list_pretrained",
    "load",
    "open_dataset",
    "save",
    "write_dataset",
]

_MODULES = {
    "checkpoints.checkpoint": ("load", "save"),
    "checkpoints.hub": ("from_pretrained",),
    "checkpoints.model_cards": ("list_pretrained",),
    "core.sample": ("Latent", "Sample", "Schema", "collate"),
    "inference.export": ("export",),
    "io": ("DataError", "open_dataset", "write_dataset"),
    "models.ensemble": ("Ensemble",),
    "models.evolution": ("EvolutionOperator",),
    "models.static": ("FieldOperator",),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it (PEP 562)."""
    if name == "__version__":
        return _version()
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"fields.{module}"), name)
    raise AttributeError(
        f"module 'fields' has no attribute {name!r}; public names are {', '.join(__all__)}."
    )


def __dir__() -> list[str]:
    return __all__


def _version() -> str:
    """Read the version that pyproject.toml states from the metadata of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("bracketfields")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        return "unknown"
