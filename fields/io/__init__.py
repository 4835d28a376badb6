"""Data files of any layout, opened as lazy datasets in one form (see :mod:`fields.io.base`)."""

from fields.io.base import SPLITS, DataError, Reader
from fields.io.complex_parts import split_complex
from fields.io.lazy import stored_array
from fields.io.opening import open_dataset
from fields.io.readers import all_readers
from fields.io.writer import write_dataset

__all__ = [
    "SPLITS",
    "DataError",
    "Reader",
    "all_readers",
    "open_dataset",
    "split_complex",
    "stored_array",
    "write_dataset",
]
