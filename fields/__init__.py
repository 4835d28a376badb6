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
    from fields.cards import list_pretrained
    from fields.checkpoint import load, save
    from fields.evolution.model import EvolutionOperator
    from fields.hub import from_pretrained
    from fields.io import DataError, open_dataset, write_dataset
    from fields.model import FieldOperator
    from fields.program import export
    from fields.sample import Latent, Sample, Schema, collate
    from fields.uncertainty import Ensemble

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
    "cards": ("list_pretrained",),
    "checkpoint": ("load", "save"),
    "evolution.model": ("EvolutionOperator",),
    "program": ("export",),
    "hub": ("from_pretrained",),
    "io": ("DataError", "open_dataset", "write_dataset"),
    "model": ("FieldOperator",),
    "sample": ("Latent", "Sample", "Schema", "collate"),
    "uncertainty": ("Ensemble",),
}


def __getattr__(name: str) -> Any:
    """The public names, from the modules they live in (PEP 562)."""
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"fields.{home}"), name)
    raise AttributeError(f"module 'fields' has no attribute {name!r}; public are {', '.join(__all__)}.")
