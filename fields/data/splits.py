"""Which samples are trained on, and what their values are like."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from fields.data.dataset import FieldDataset
from fields.data.scaling import Scaling, Standard, Statistics
from fields.data.statistics import compute_statistics
from fields.io.base import SPLITS, DataError


def split_indices(
    ds: xr.Dataset, *, validation: float, test: float, seed: int
) -> dict[str, np.ndarray]:
    """Sample numbers of train, validation and test: the file's own split, else random shares that are said by the caller."""
    if "split" in ds.coords:
        split = np.asarray(ds["split"])
        return {name: np.flatnonzero(split == code) for code, name in enumerate(SPLITS)}
    order = np.random.default_rng(seed).permutation(ds.sizes["sample"])
    cut = np.cumsum([round(validation * len(order)), round(test * len(order))])
    held, tested, train = np.split(order, cut)
    return {"train": np.sort(train), "validation": np.sort(held), "test": np.sort(tested)}


def dataset_statistics(
    data: FieldDataset, scalings: Mapping[str, Scaling] | None = None
) -> dict[str, Statistics]:
    """Statistics of every variable over the samples of ``data``, merged in float64; each asks for what its scaling needs."""
    result = {}
    for name in dict.fromkeys((*data.schema.inputs, *data.schema.outputs, *data.schema.params)):
        scaling = (scalings or {}).get(name, Standard())
        if scaling.by and scaling.by not in data.schema.params:
            raise DataError(
                f"{name!r} cannot be scaled by {scaling.by!r}: parameters are {list(data.schema.params)}."
            )
        by = (
            np.broadcast_to(data.ds[scaling.by].values, data.ds.sizes["sample"])
            if scaling.by
            else None
        )
        result[name] = compute_statistics(
            data.ds.variables[name], data.indices, scaling, by, data.thin
        )
    return result
