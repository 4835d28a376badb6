"""A few inputs of a model that travel in its checkpoint, as tensors beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

PREFIX = "examples."  # of the names of their tensors


def pack_examples(ds: xr.Dataset) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of all variables and coordinates, and their dims and attributes for the header.

    Example:
        >>> ds = xr.Dataset({"a": (("sample", "x"), np.ones((2, 3), "float32"))})
        >>> tensors, header = pack_examples(ds)
        >>> tensors["examples.a"].shape, header["a"]["dims"]
        (torch.Size([2, 3]), ['sample', 'x'])
    """
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    for name, variable in ds.variables.items():
        attrs = {key: _plain(value) for key, value in variable.attrs.items()}
        tensors[f"{PREFIX}{name}"] = torch.as_tensor(np.array(variable.values)).contiguous()
        header[str(name)] = {
            "dims": list(variable.dims),
            "attrs": attrs,
            "coord": name in ds.coords,
        }
    return tensors, header


def example_names(header: Mapping[str, Any]) -> list[str]:
    """Names of the tensors that belong to examples with this header.

    Example:
        >>> example_names({"a": {"dims": ["sample"]}})
        ['examples.a']
    """
    return [f"{PREFIX}{name}" for name in header]


def unpack_examples(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> xr.Dataset:
    """The dataset of which `pack_examples` made these.

    Example:
        >>> ds = xr.Dataset({"a": (("sample", "x"), np.ones((2, 3), "float32"))})
        >>> unpack_examples(*pack_examples(ds)).equals(ds)
        True
    """
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, about in header.items():
        values = tensors[f"{PREFIX}{name}"]
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        found[bool(about["coord"])][name] = (about["dims"], values, about["attrs"])
    return xr.Dataset(*found)


def _plain(value: Any) -> Any:
    """An attribute as JSON can hold it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
