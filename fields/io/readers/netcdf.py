"""netCDF files that follow the CF conventions: oceans, winds, climate model output.

Packed integers are scaled and missing values become NaN when read; times stay numbers in their
stored unit. Dimensions of length 1 are dropped, a longitude that spans the circle is periodic, and
curvilinear grids keep their 2-D latitudes and longitudes beside plain grid indices. A file without
samples is one sample.

Reference: CF conventions 1.11, chapters 4 (coordinates), 5.2 (curvilinear grids) and 8.1 (packed
data).
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.attributes import plain
from fields.io.base import DataError, Reader, check
from fields.io.diagnose import head, is_hdf5
from fields.io.grid import axis, bounds_of
from fields.io.handles import Handle, HDF5Handle, open_hdf5
from fields.io.lazy import StoredArray, lazy

HIDDEN = (
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "CLASS",
    "NAME",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
)

SAMPLES = ("sample", "realization", "ensemble", "member", "number", "run")


class NetCDF(Reader):
    """netCDF-4 (HDF5) or netCDF-3 in the CF conventions."""

    layout = "netcdf"

    def recognizes(self, path: Path) -> bool:
        """By netCDF-3's signature, or dimension scales in HDF5."""
        if head(path, 4)[:3] == b"CDF":
            return True
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return any(
                isinstance(d, h5py.Dataset) and "DIMENSION_LIST" in d.attrs for d in file.values()
            )

    def open(self, path: Path) -> xr.Dataset:
        """Opens the root group."""
        handle = HDF5Handle(path) if is_hdf5(path) else NetCDF3Handle(path)
        raw, attrs = netcdf_variables(handle)
        aux = _auxiliary(raw)
        rename = _roles_of_dims(raw)
        fields = {
            n: v
            for n, v in raw.items()
            if n not in aux and n not in v.dims and any(s > 1 for s in v.shape)
        }
        space = {
            d
            for v in fields.values()
            for d, s in zip(v.dims, v.shape, strict=True)
            if s > 1 and d not in rename
        }
        fields = {name: v for name, v in fields.items() if space & set(v.dims)}
        variables = {name: _canonical(handle, name, v, rename) for name, v in fields.items()}
        ds = xr.decode_cf(xr.Dataset(variables), decode_times=False, decode_coords=False)
        for variable in ds.data_vars.values():
            variable.attrs["role"] = "state" if "time" in variable.dims else "output"
            variable.attrs.pop("coordinates", None)
        ds = ds.assign_coords(_coordinates(raw, ds, rename))
        known = {
            name: attrs[name]
            for name in ("title", "Conventions", "history", "source")
            if name in attrs
        }
        ds.attrs = {"layout": self.layout, **known}
        ds.set_close(handle.close)
        return check(ds, path)


class NetCDF3Handle(Handle):
    """netCDF-3; read as a whole when opened."""

    def _connect(self) -> dict[str, Any]:
        from scipy.io import netcdf_file

        with netcdf_file(self.path, mmap=False) as file:
            return {name: _Variable3(variable) for name, variable in file.variables.items()}


class _Variable3:
    """A netCDF-3 variable in memory, in the machine's byte order."""

    def __init__(self, variable: Any):
        self.data = np.asarray(variable.data).astype(variable.data.dtype.newbyteorder("="))
        self.shape, self.dtype, self.dims = self.data.shape, self.data.dtype, variable.dimensions
        self.attrs = dict(variable._attributes)

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]


def netcdf_variables(handle: Handle) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """The root group as raw lazy variables (1-D coordinates are loaded), and its attributes."""
    variables = {}
    for name, stored in handle.file.items():
        if (
            isinstance(stored, h5py.Group)
            or stored.dtype.kind not in "biufc"
            or _is_bare_dim(stored)
        ):
            continue
        dims = stored.dims if isinstance(stored, _Variable3) else _dim_names(name, stored)
        attrs = {key: plain(value) for key, value in stored.attrs.items() if key not in HIDDEN}
        dtype = bool if attrs.pop("dtype", None) == "bool" else None
        variable = lazy(dims, StoredArray(handle, name, dtype=dtype), attrs)
        variables[name] = variable.load() if tuple(dims) == (name,) else variable
    root = getattr(handle.file, "attrs", {})
    return variables, {
        key: plain(value) for key, value in root.items() if not key.startswith("_NC")
    }


def _is_bare_dim(stored: Any) -> bool:
    return str(plain(stored.attrs.get("NAME", ""))).startswith(
        "This is a netCDF dimension but not a netCDF variable"
    )


def _dim_names(name: str, dataset: h5py.Dataset) -> tuple[str, ...]:
    if dataset.is_scale and dataset.ndim == 1:
        return (name,)
    names = []
    for i in range(dataset.ndim):
        scales = dataset.dims[i]
        name_of_scale = scales[0].name if len(scales) else None
        if name_of_scale is None:
            raise DataError(
                f"{dataset.file.filename}: axis {i} of `{name}` has no dimension name, so it is no netCDF-4."
            )
        names.append(name_of_scale.rsplit("/", 1)[-1])
    return tuple(names)


def _auxiliary(raw: dict[str, xr.Variable]) -> set[str]:
    """Variables that describe others: cell bounds, auxiliary coordinates, grid mappings."""
    names: set[str] = set()
    for variable in raw.values():
        for key in (
            "bounds",
            "climatology",
            "coordinates",
            "grid_mapping",
            "cell_measures",
            "ancillary_variables",
        ):
            value = variable.attrs.get(key)
            names |= set(value.split()) if isinstance(value, str) else set()
    return names


def _roles_of_dims(raw: dict[str, xr.Variable]) -> dict[str, str]:
    """Which dims are ``time`` and ``sample``."""
    rename = {}
    for dim in {str(dim) for variable in raw.values() for dim in variable.dims}:
        attrs = raw[dim].attrs if dim in raw else {}
        units = str(attrs.get("units", ""))
        if " since " in units or attrs.get("axis") == "T" or dim.lower() in ("time", "t"):
            rename[dim] = "time"
        elif dim.lower() in SAMPLES:
            rename[dim] = "sample"
    return rename


def _canonical(
    handle: Handle, name: str, variable: xr.Variable, rename: dict[str, str]
) -> xr.Variable:
    """The variable with axes sample, time, space; axes of length 1 dropped."""
    dims = {rename.get(d, d): i for i, d in enumerate(map(str, variable.dims))}
    fixed = {
        i: 0 for d, i in dims.items() if variable.shape[i] == 1 and d not in ("sample", "time")
    }
    space = [d for d, i in dims.items() if d not in ("sample", "time") and i not in fixed]
    order = [
        dims.get("sample"),
        *([dims["time"]] if "time" in dims else []),
        *(dims[d] for d in space),
    ]
    array = StoredArray(handle, name, order=order, fixed=fixed)
    return lazy(("sample", *(["time"] if "time" in dims else []), *space), array, variable.attrs)


def _coordinates(
    raw: dict[str, xr.Variable], ds: xr.Dataset, rename: dict[str, str]
) -> dict[Hashable, Any]:
    coords: dict[Hashable, Any] = {}
    back = {new: old for old, new in rename.items()}
    for dim, size in ds.sizes.items():
        stored = raw.get(back.get(str(dim), str(dim)))
        if dim == "sample":
            continue
        if stored is None or stored.shape != (size,):
            coords[dim] = axis(str(dim), np.arange(float(size)), long_name="grid index")
            continue
        keep = {
            k: v
            for k, v in stored.attrs.items()
            if k in ("units", "long_name", "standard_name", "calendar")
        }
        if dim == "time":
            coords[dim] = xr.Variable((dim,), stored.values, keep)
        else:
            around = _circles(stored)
            if around:  # stored in single precision, the step is not exactly 360/n
                low = bounds_of(stored.values, periodic=True)[0]
                keep["bounds"] = (low, low + 360.0)
            coords[dim] = axis(str(dim), stored.values, periodic=around, **keep)
    for name, variable in raw.items():  # two-dimensional latitudes and longitudes
        standard = variable.attrs.get("standard_name")
        if (
            standard in ("latitude", "longitude")
            and variable.ndim == 2
            and set(variable.dims) <= set(ds.dims)
        ):
            keep = {
                k: v
                for k, v in variable.attrs.items()
                if k in ("units", "long_name", "standard_name")
            }
            coords[standard if standard not in ds.dims else name] = xr.Variable(
                variable.dims, variable._data, keep
            )
    return coords


def _circles(longitude: xr.Variable) -> bool:
    """Whether a coordinate is a longitude that goes once around."""
    east = str(longitude.attrs.get("units", "")).lower() in (
        "degrees_east",
        "degree_east",
        "degreese",
        "degrees_e",
    )
    if not (east or longitude.attrs.get("standard_name") == "longitude") or longitude.size < 2:
        return False
    values = np.asarray(longitude.values, float)
    step = abs(values[-1] - values[0]) / (len(values) - 1)
    return bool(abs(step * len(values) - 360) < step / 2)
