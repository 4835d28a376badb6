"""HDF5 attributes as Python values."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np


def plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value: text, number, or tuple of them (a single entry stands for itself)."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        items = tuple(plain(item) for item in value.ravel().tolist())
        return items[0] if len(items) == 1 else items
    return value
