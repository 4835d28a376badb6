"""PDE surrogates with conditional neural fields.

    model = fields.load("runs/burgers/model.safetensors")
    ds = fields.open_dataset("mine.h5")
    out = model.predict(ds, at={"x": xs})
"""

from fields.checkpoint import load, save
from fields.io import DataError, open_dataset, write_dataset
from fields.model import FieldOperator
from fields.sample import Latent, Sample, Schema, collate

__all__ = [
    "DataError",
    "FieldOperator",
    "Latent",
    "Sample",
    "Schema",
    "collate",
    "load",
    "open_dataset",
    "save",
    "write_dataset",
]
