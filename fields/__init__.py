"""PDE surrogates with conditional neural fields.

    model = fields.load("runs/burgers/model.safetensors")
    ds = fields.open_dataset("mine.h5")
    out = model.predict(ds, at={"x": xs})

Names are imported when first used, so that ``python -m fields --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fields.checkpoints.checkpoint import load, save
    from fields.checkpoints.hub import from_pretrained
    from fields.checkpoints.model_cards import list_pretrained
    from fields.core.sample import Latent, Sample, Schema, collate
    from fields.inference.export import export
    from fields.io import DataError, open_dataset, write_dataset
    from fields.models.ensemble import Ensemble
    from fields.models.evolution import EvolutionOperator
    from fields.models.static import FieldOperator

__all__ = [
    "DataError",
    "Ensemble",
    "EvolutionOperator",
    "FieldOperator",
    "Latent",
    "Sample",
    "Schema",
    "collate",
    "export",
    "from_pretrained",
    "list_pretrained",
    "load",
    "open_dataset",
    "save",
    "write_dataset",
]

HOMES = {
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
    """The public names, from the modules they live in (PEP 562)."""
    if name == "__version__":
        return import_module("importlib.metadata").version("bracketfields")
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"fields.{home}"), name)
    raise AttributeError(
        f"module 'fields' has no attribute {name!r}; public are {', '.join(__all__)}."
    )
