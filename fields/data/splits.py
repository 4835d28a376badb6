"""Which samples of a dataset are for training, validation and testing."""

from __future__ import annotations

import numpy as np
import xarray as xr

from fields.io.base import SPLITS


def split_indices(
    ds: xr.Dataset, *, validation: float, test: float, seed: int
) -> dict[str, np.ndarray]:
    """Sample numbers by ``train``, ``validation`` and ``test``, each increasing.

    The split that the file records (coordinate ``split``) is used if there is one, and the other
    arguments are then ignored.

    Args:
        ds: the dataset in canonical form.
        validation, test: shares of the samples that are drawn at random. Of four samples or more,
            a positive share is at least one sample.
        seed: of the random split.

    Example:
        >>> ds = xr.Dataset({"u": ("sample", np.zeros(10))})
        >>> parts = split_indices(ds, validation=0.2, test=0.3, seed=0)
        >>> {name: len(indices) for name, indices in parts.items()}
        {'train': 5, 'validation': 2, 'test': 3}
    """
    if "split" in ds.coords:
        split = np.asarray(ds["split"])
        return {name: np.flatnonzero(split == code) for code, name in enumerate(SPLITS)}
    order = np.random.default_rng(seed).permutation(ds.sizes["sample"])
    ends = np.cumsum([_count(share, len(order)) for share in (validation, test)])
    held_out, tested, train = np.split(order, ends)
    return {"train": np.sort(train), "validation": np.sort(held_out), "test": np.sort(tested)}


def _count(share: float, samples: int) -> int:
    return max(round(share * samples), 1 if share > 0 and samples > 3 else 0)
