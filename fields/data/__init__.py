"""Datasets in canonical form as samples for training: schema, split, windows of trajectories, statistics."""

from fields.data.dataset import FieldDataset
from fields.data.schemas import points_of, require, schema_of, space_dims
from fields.data.splits import split_indices, statistics

__all__ = ["FieldDataset", "points_of", "require", "schema_of", "space_dims", "split_indices", "statistics"]
