"""Datasets in canonical form as samples for training: schema, split, windows of trajectories, statistics."""

from fields.data.dataset import FieldDataset
from fields.data.schema import points_of, require, schema_of, space_dims
from fields.data.splits import dataset_statistics, split_indices

__all__ = [
    "FieldDataset",
    "dataset_statistics",
    "points_of",
    "require",
    "schema_of",
    "space_dims",
    "split_indices",
]
