"""What xarray datasets may contain and netCDF cannot store: converted, or refused in one sentence.

Attributes: None is omitted, truth values become 0 and 1, tables become JSON, and dates, paths and
other objects become text.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fields.io.base import DataError

STORED_KINDS = "biufMmUSO"


def storable(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with attributes and types that netCDF can store.

    Raises:
        DataError: a name, an index or a type cannot be stored.

    Example:
        >>> ds = xr.Dataset({"u": ("x", np.zeros(3), {"fixed": True})}, attrs={"note": None})
        >>> storable(ds)["u"].attrs, storable(ds).attrs
        ({'fixed': 1}, {})
    """
    for name in ds.variables:
        if "/" in str(name):
            raise DataError(
                f"The variable `{name}` has a slash in its name, which netCDF does not allow. "
                "Rename it."
            )
    levels = [n for n, index in ds.indexes.items() if isinstance(index, pd.MultiIndex)]
    if levels:
        raise DataError(
            f"The coordinate `{levels[0]}` is a MultiIndex, which netCDF cannot store. Replace it "
            f"by its levels with `ds.reset_index({levels[0]!r})`."
        )
    ds = ds.assign_attrs({})  # a copy, whose attributes may be replaced
    ds.attrs = _stored_attributes(ds.attrs)
    for name in list(ds.variables):
        variable = _stored_type(name, ds.variables[name].copy(deep=False))
        variable.attrs = _stored_attributes(variable.attrs)
        ds[name] = variable
    return ds


def _stored_type(name: Hashable, variable: xr.Variable) -> xr.Variable:
    if variable.dtype.kind not in STORED_KINDS:
        advice = (
            " Write its real and its imaginary part as two variables."
            if variable.dtype.kind == "c"
            else ""
        )
        raise DataError(
            f"`{name}` has the type {variable.dtype}, which netCDF cannot store.{advice}"
        )
    if variable.dtype.kind != "O":
        return variable
    kinds = {type(value).__name__ for value in variable.values.ravel()}
    if kinds == {"str"}:
        return variable
    if len(kinds) > 1 or not _is_time(variable.values.ravel()[0]):
        raise DataError(
            f"`{name}` contains Python objects of the types {', '.join(sorted(kinds))}. Convert "
            "all of them to numbers or to texts."
        )
    return variable


def _is_time(value: Any) -> bool:
    """Whether a value is a date of the standard library or of cftime, which xarray converts."""
    return all(hasattr(value, part) for part in ("year", "month", "day"))


def _stored_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _stored_value(value) for key, value in attrs.items() if value is not None}


def _stored_value(value: Any) -> Any:
    """An attribute as a number, a text, or a list of them."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, str | bytes | int | float | np.number):
        return value if not np.iscomplexobj(value) else str(value)
    if isinstance(value, list | tuple | np.ndarray):
        array = _as_array(value)
        if array.ndim == 1 and array.dtype == bool:
            return [int(item) for item in array]
        if array.ndim == 1 and array.dtype.kind in "iufU":
            return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _as_array(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.empty((), object)
    # numpy makes texts of numbers that stand beside texts.
    mixed = array.dtype.kind == "U" and not all(isinstance(item, str) for item in value)
    return np.empty((), object) if mixed else array
