"""Datasets in canonical form as training samples: schema, splits, windows, statistics."""

from fields.data.dataset import FieldDataset
from fields.data.schema import points_of, require, schema_of, space_dims
from fields.data.splits import split_indices
from fields.data.statistics import dataset_statistics

__all__ = [
    "FieldDataset",
    "dataset_statistics",
    "points_of",
    "require",
    "schema_of",
    "space_dims",
    "split_indices",
]
