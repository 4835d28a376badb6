"""The variables of netCDF-4 and netCDF-3 files, as lazy xarray variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError
from fields.io.handles import Handle
from fields.io.hdf5 import attribute_value, dimension_scales, get_attribute, get_group, get_item
from fields.io.lazy import StoredArray, lazy_variable

# Attributes by which HDF5 and the netCDF libraries record dimensions.
INTERNAL_ATTRIBUTES = (
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "CLASS",
    "NAME",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
)

# Value of ``NAME`` of a dimension without a coordinate variable.
BARE_DIMENSION = "This is a netCDF dimension but not a netCDF variable"


class NetCDF3Handle(Handle):
    """A netCDF-3 file, which is read as a whole when it is opened.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "a.nc"
        >>> ds = xr.Dataset({"u": ("x", np.zeros(4))})
        >>> _ = ds.to_netcdf(path, engine="scipy", format="NETCDF3_CLASSIC")
        >>> NetCDF3Handle(path).array("u").shape
        (4,)
    """

    def open_file(self) -> dict[str, Any]:
        """Read all variables of the file into memory."""
        from scipy.io import netcdf_file

        with netcdf_file(self.path, mmap=False) as file:
            return {name: _NetCDF3Variable(variable) for name, variable in file.variables.items()}


class _NetCDF3Variable:
    """A netCDF-3 variable in memory, in the byte order of the machine."""

    def __init__(self, variable: Any):
        self.data = np.asarray(variable.data).astype(variable.data.dtype.newbyteorder("="))
        self.shape = self.data.shape
        self.dtype = self.data.dtype
        self.dims = variable.dimensions
        self.attrs = dict(variable._attributes)

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]


def netcdf_variables(
    handle: Handle, group: str = "", *, texts: bool = False
) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Variables of a group, not decoded, and the attributes of the file.

    Variables are lazy, except for 1-D coordinates and texts, which are loaded.

    Args:
        handle: the file.
        group: path of the group; default: the root group.
        texts: whether to return variables of texts, too.

    Raises:
        DataError: there is no such group, or a variable is damaged.
    """
    variables = {}
    for name, stored in _items(handle, group):
        if texts and isinstance(stored, h5py.Dataset) and h5py.check_string_dtype(stored.dtype):
            values = np.asarray(stored.asstr()[()], object)
            variables[name] = xr.Variable(_dimension_names(name, stored), values)
            continue
        if stored.dtype.kind not in "biufc":
            continue
        if str(attribute_value(stored.attrs.get("NAME", ""))).startswith(BARE_DIMENSION):
            continue
        is_netcdf3 = isinstance(stored, _NetCDF3Variable)
        dims = stored.dims if is_netcdf3 else _dimension_names(name, stored)
        attrs = {
            key: attribute_value(value)
            for key, value in stored.attrs.items()
            if key not in INTERNAL_ATTRIBUTES
        }
        dtype = bool if attrs.pop("dtype", None) == "bool" else None
        place = f"{group}/{name}" if group else name
        variable = lazy_variable(dims, StoredArray(handle, place, dtype=dtype), attrs)
        variables[name] = variable.load() if tuple(dims) == (name,) else variable
    root = getattr(handle.file, "attrs", {})
    attrs = {key: attribute_value(v) for key, v in root.items() if not key.startswith("_NC")}
    return variables, attrs


def _items(handle: Handle, group: str) -> Iterator[tuple[str, Any]]:
    """Names and arrays of a group; groups in it and named types are omitted."""
    file = handle.file
    if not isinstance(file, h5py.File):
        yield from file.items()
        return
    parent = get_group(file, group) if group else file
    if parent is None:
        raise DataError(f"{handle.path} has no group `{group}`.")
    for name in map(str, parent):
        item = get_item(parent, name)
        if isinstance(item, h5py.Dataset):
            yield name, item


def _dimension_names(name: str, dataset: h5py.Dataset) -> tuple[str, ...]:
    if get_attribute(dataset, "CLASS") == "DIMENSION_SCALE" and dataset.ndim == 1:
        return (name,)
    names = []
    for i, scales in enumerate(dimension_scales(dataset)):
        scale_name = scales[0].name if scales else None
        if scale_name is None:
            raise DataError(
                f"{dataset.file.filename}: axis {i} of `{name}` has no dimension name, so the file "
                "is not valid netCDF-4. Open it with a mapping of its arrays."
            )
        names.append(scale_name.rsplit("/", 1)[-1])
    return tuple(names)
