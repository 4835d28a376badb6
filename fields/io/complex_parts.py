"""Complex variables as two real ones, because models take real channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from fields.io.base import DataError
from fields.io.indexing import Key
from fields.io.lazy import LazyArray, lazy_variable, stored_array

SUFFIXES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"_re": np.real, "_im": np.imag}


class ComplexPart(LazyArray):
    """The real or the imaginary part of a stored complex array.

    Args:
        whole: the complex array.
        suffix: ``_re`` or ``_im``.

    Example:
        >>> from fields.io.concatenated import ConcatenatedArray
        >>> whole = ConcatenatedArray([np.ones((1, 3), "c8")], shapes=[(1, 3)], dtype="c8")
        >>> ComplexPart(whole, "_im").dtype
        dtype('float32')
    """

    def __init__(self, whole: LazyArray, suffix: str):
        self.whole = whole
        self.suffix = suffix
        self.shape = whole.shape
        self.dtype = np.real(np.empty(0, whole.dtype)).dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Those of the complex array."""
        return self.whole.chunks

    def read(self, key: Key) -> np.ndarray:
        """The part of the values at ``key``."""
        return SUFFIXES[self.suffix](self.whole.read(key))


def split_complex(ds: xr.Dataset) -> xr.Dataset:
    """Replace every complex variable ``u`` by its real part ``u_re`` and imaginary part ``u_im``.

    Stored variables stay lazy, and attributes are kept.

    Raises:
        DataError: a variable of that name exists already.

    Example:
        >>> ds = split_complex(xr.Dataset({"u": ("x", [1 + 2j, 3 + 4j], {"role": "input"})}))
        >>> list(ds), ds["u_im"].values.tolist(), ds["u_re"].attrs
        (['u_re', 'u_im'], [2.0, 4.0], {'role': 'input'})
    """
    if not any(variable.dtype.kind == "c" for variable in ds.data_vars.values()):
        return ds
    out: dict[Any, Any] = {}
    for name, array in ds.data_vars.items():
        if array.dtype.kind != "c":
            out[name] = array.variable
            continue
        for suffix in SUFFIXES:
            if f"{name}{suffix}" in ds:
                raise DataError(
                    f"The complex variable `{name}` cannot be split, because `{name}{suffix}` "
                    "exists already. Rename one of them."
                )
            out[f"{name}{suffix}"] = _part(array.variable, suffix)
    return xr.Dataset(out, ds.coords, ds.attrs)


def _part(variable: xr.Variable, suffix: str) -> xr.Variable:
    stored = stored_array(variable)
    if stored is None:
        return xr.Variable(variable.dims, SUFFIXES[suffix](variable.values), variable.attrs)
    return lazy_variable(variable.dims, ComplexPart(stored, suffix), variable.attrs)
