"""netCDF files that follow the CF conventions: oceans, winds, output of climate models.

Packed integers are scaled and missing values become NaN when they are read; times remain numbers in
their stored unit. Dimensions of length 1 are dropped, a longitude that spans the circle is
periodic, and curvilinear grids keep their 2-D latitudes and longitudes as coordinates beside plain
grid indices. A file without a sample dimension is one sample.

Reference: CF conventions 1.11, chapters 4 (coordinates), 5.2 (curvilinear grids) and 8.1 (packed
data).
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import Reader, Specificity, check_canonical
from fields.io.grid import axis_bounds, space_coordinate
from fields.io.handles import Handle
from fields.io.hdf5 import HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.netcdf_file import NetCDF3Handle, netcdf_variables
from fields.io.signatures import is_hdf5, is_netcdf3

# Names of a dimension that counts samples.
SAMPLE_DIMENSIONS = ("sample", "realization", "ensemble", "member", "number", "run")

# CF attributes that name variables which describe others.
REFERRING_ATTRIBUTES = (
    "bounds",
    "climatology",
    "coordinates",
    "grid_mapping",
    "cell_measures",
    "ancillary_variables",
)

EAST_UNITS = ("degrees_east", "degree_east", "degreese", "degrees_e")


class NetCDF(Reader):
    """netCDF-4 (HDF5) or netCDF-3 in the CF conventions.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "winds.nc"
        >>> lon = ("lon", np.arange(8) * 45.0, {"units": "degrees_east"})
        >>> ds = xr.Dataset({"u": (("time", "lat", "lon"), np.zeros((3, 4, 8)))}, {"lon": lon})
        >>> ds.to_netcdf(path, engine="h5netcdf")
        >>> ds = NetCDF().open(path)
        >>> ds["u"].dims, ds["lon"].attrs["periodic"]
        (('sample', 'time', 'lat', 'lon'), 1)
    """

    layout = "netcdf"
    specificity = Specificity.CONVENTION

    def recognizes(self, path: Path) -> bool:
        """By the signature of netCDF-3, or dimension scales in HDF5."""
        if is_netcdf3(path):
            return True
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return any(
                isinstance(d, h5py.Dataset) and "DIMENSION_LIST" in d.attrs for d in file.values()
            )

    def open(self, path: Path, *, group: str = "") -> xr.Dataset:
        """Open the variables of a group that vary in space.

        Args:
            path: the file.
            group: path of the group in the file; default: the root group. Other groups that have
                variables are named in a warning and in the attribute ``left_out``.
        """
        handle = HDF5Handle(path) if is_hdf5(path) else NetCDF3Handle(path)
        group = group.strip("/")
        raw, attrs = netcdf_variables(handle, group)
        renamed = _renamed_dimensions(raw)
        variables = {
            name: _canonical_variable(
                handle, f"{group}/{name}" if group else name, variable, renamed
            )
            for name, variable in _field_variables(raw, renamed).items()
        }
        ds = xr.decode_cf(xr.Dataset(variables), decode_times=False, decode_coords=False)
        for variable in ds.data_vars.values():
            variable.attrs["role"] = "state" if "time" in variable.dims else "output"
            variable.attrs.pop("coordinates", None)
        ds = ds.assign_coords(_axis_coordinates(raw, ds, renamed) | _curvilinear(raw, ds))
        kept = ("title", "Conventions", "history", "source")
        ds.attrs = {"layout": self.layout, **{name: attrs[name] for name in kept if name in attrs}}
        left_out = _other_groups(handle, group)
        if left_out:
            names = ", ".join(left_out)
            ds.attrs["left_out"] = f"the groups {names}"
            warnings.warn(
                f"{path}: the variables of the groups {names} are not read. Open one of them with "
                f"the option group={left_out[0]!r}.",
                stacklevel=2,
            )
        ds.set_close(handle.close)
        return check_canonical(ds, path)


def _other_groups(handle: Handle, group: str) -> list[str]:
    """The other groups that contain arrays."""
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "/" in name:
            names.append(name.rsplit("/", 1)[0])

    if isinstance(handle.file, h5py.File):
        handle.file.visititems(visit)
    return [name for name in dict.fromkeys(names) if name != group]


def _field_variables(
    raw: dict[str, xr.Variable], renamed: dict[str, str]
) -> dict[str, xr.Variable]:
    """Variables that vary in space and are neither coordinates nor descriptions of others."""
    describing = _describing_variables(raw)
    fields = {
        name: variable
        for name, variable in raw.items()
        if name not in describing
        and name not in variable.dims
        and any(size > 1 for size in variable.shape)
    }
    space = {
        dim
        for variable in fields.values()
        for dim, size in zip(variable.dims, variable.shape, strict=True)
        if size > 1 and dim not in renamed
    }
    return {name: variable for name, variable in fields.items() if space & set(variable.dims)}


def _describing_variables(raw: dict[str, xr.Variable]) -> set[str]:
    """Cell bounds, auxiliary coordinates, grid mappings."""
    names: set[str] = set()
    for variable in raw.values():
        for key in REFERRING_ATTRIBUTES:
            value = variable.attrs.get(key)
            names |= set(value.split()) if isinstance(value, str) else set()
    return names


def _renamed_dimensions(raw: dict[str, xr.Variable]) -> dict[str, str]:
    """The dimensions that become ``time`` and ``sample``."""
    renamed = {}
    for dim in {str(dim) for variable in raw.values() for dim in variable.dims}:
        attrs = raw[dim].attrs if dim in raw else {}
        units = str(attrs.get("units", ""))
        if " since " in units or attrs.get("axis") == "T" or dim.lower() in ("time", "t"):
            renamed[dim] = "time"
        elif dim.lower() in SAMPLE_DIMENSIONS:
            renamed[dim] = "sample"
    return renamed


def _canonical_variable(
    handle: Handle, name: str, variable: xr.Variable, renamed: dict[str, str]
) -> xr.Variable:
    """The variable with the axes sample, time, space, without axes of length 1."""
    dims = {renamed.get(d, d): i for i, d in enumerate(map(str, variable.dims))}
    fixed = {
        i: 0 for d, i in dims.items() if variable.shape[i] == 1 and d not in ("sample", "time")
    }
    space = [d for d, i in dims.items() if d not in ("sample", "time") and i not in fixed]
    time = ["time"] if "time" in dims else []
    order = [dims.get("sample"), *(dims[d] for d in (*time, *space))]
    array = StoredArray(handle, name, order=order, fixed=fixed)
    return lazy_variable(("sample", *time, *space), array, variable.attrs)


def _axis_coordinates(
    raw: dict[str, xr.Variable], ds: xr.Dataset, renamed: dict[str, str]
) -> dict[Hashable, Any]:
    """One coordinate per axis; a grid index where the file has none."""
    coords: dict[Hashable, Any] = {}
    original = {new: old for old, new in renamed.items()}
    for dim, size in ds.sizes.items():
        name = str(dim)
        stored = raw.get(original.get(name, name))
        if name == "sample":
            continue
        if stored is None or stored.shape != (size,):
            index = np.arange(float(size))
            coords[dim] = space_coordinate(name, index, long_name="grid index")
            continue
        attrs = _selected(stored.attrs, "units", "long_name", "standard_name", "calendar")
        if name == "time":
            coords[dim] = xr.Variable((dim,), stored.values, attrs)
            continue
        periodic = _spans_circle(stored)
        if periodic:
            # In single precision the step is not exactly 360/n, but the period is 360.
            low = axis_bounds(stored.values, periodic=True)[0]
            attrs["bounds"] = (low, low + 360.0)
        coords[dim] = space_coordinate(name, stored.values, periodic=periodic, **attrs)
    return coords


def _curvilinear(raw: dict[str, xr.Variable], ds: xr.Dataset) -> dict[Hashable, Any]:
    """Two-dimensional latitudes and longitudes."""
    coords: dict[Hashable, Any] = {}
    for name, variable in raw.items():
        standard = variable.attrs.get("standard_name")
        if standard not in ("latitude", "longitude") or variable.ndim != 2:
            continue
        if set(variable.dims) <= set(ds.dims):
            attrs = _selected(variable.attrs, "units", "long_name", "standard_name")
            coordinate = xr.Variable(variable.dims, variable._data, attrs)
            coords[standard if standard not in ds.dims else name] = coordinate
    return coords


def _selected(attrs: dict[Any, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key in names}


def _spans_circle(longitude: xr.Variable) -> bool:
    """Whether a coordinate is a longitude that covers 360 degrees."""
    east = str(longitude.attrs.get("units", "")).lower() in EAST_UNITS
    if not (east or longitude.attrs.get("standard_name") == "longitude") or longitude.size < 2:
        return False
    values = np.asarray(longitude.values, float)
    step = abs(values[-1] - values[0]) / (len(values) - 1)
    return bool(abs(step * len(values) - 360) < step / 2)
