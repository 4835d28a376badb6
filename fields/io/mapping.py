"""Files of an unknown layout, opened with a mapping that describes their arrays.

.. code-block:: yaml

    dims: [sample, time, x]            # axes of the fields; a number selects that index of the axis
    fields:
      u: /tensor                       # name of the variable: path of the array in the file
      a: {path: /init, dims: [sample, x], role: input, units: m}
    coords: {x: /x-coordinate, time: /t-coordinate}
    parameters: {nu: /nu}              # arrays (N) or single numbers; @nu is a file attribute
    periodic: [x]

A field without ``dims`` has the common ones. A field without ``role`` is a state if it has the axis
``time``, else an output. An axis without a coordinate is numbered 0, 1, 2, … Axes that are not
listed as periodic are not periodic. In a YAML file, whole numbers are numbers and everything else
is text, as it is written: the name ``NO`` is not the truth value that YAML makes of it.

A path with ``*``, such as ``/run*/u``, stands for one array per sample, in the order of the numbers
in their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from fields.io.base import DataError, check_canonical
from fields.io.concatenated import ConcatenatedArray, GroupArrays
from fields.io.grid import space_coordinate
from fields.io.handles import Handle, MatlabHandle, NumpyHandle, torch_content
from fields.io.hdf5 import HDF5Handle, get_attribute
from fields.io.lazy import LazyArray, StoredArray, lazy_variable
from fields.io.mapping_file import check_key, load_mapping
from fields.io.signatures import is_hdf5, is_matlab5, is_npy, is_zip

FIELD_KEYS = ("path", "dims", "role", "units", "long_name", "standard_name", "quadrature")


def open_mapped(path: Path, mapping: Mapping[str, Any] | str | Path) -> xr.Dataset:
    """Open an HDF5, ``.mat``, ``.npz`` or ``.npy`` file as a mapping describes it.

    Args:
        path: the data file.
        mapping: the mapping as a dict, or the path of a YAML file.

    Raises:
        DataError: the mapping has an unknown key or does not fit the file.
    """
    spec = load_mapping(mapping)
    handle = open_handle(path)
    variables: dict[str, Any] = {}
    for name, field in _table(spec, "fields").items():
        variables[str(name)] = _field(handle, field, spec.get("dims"), str(name))
    if not variables:
        raise DataError(
            "The mapping contains no fields. It needs at least `dims` and "
            "`fields: {u: /path/in/file}`."
        )
    ds = xr.Dataset(variables, attrs={"layout": "mapping"})
    for name, array_path in _table(spec, "parameters").items():
        ds[str(name)] = _parameter(handle, str(name), str(array_path), ds.sizes["sample"])
    ds = ds.assign_coords(_coordinates(handle, ds, spec))
    ds.set_close(handle.close)
    return check_canonical(ds, path)


def _table(spec: Mapping[str, Any], key: str) -> Mapping[Any, Any]:
    """The table of a key; empty if the mapping lacks it."""
    table = spec.get(key) or {}
    if not isinstance(table, Mapping):
        raise DataError(
            f"`{key}` of the mapping is {table!r}; it must be a table of names and paths, such as "
            f"`{key}: {{u: /path/in/file}}`."
        )
    return table


def is_mappable(path: Path) -> bool:
    """Whether the format of a file is one that a mapping can describe."""
    if is_hdf5(path) or is_matlab5(path) or is_npy(path):
        return True
    return is_zip(path) and torch_content(path) is None


def open_handle(path: Path) -> Handle:
    """The handle of a file that a mapping can describe.

    Raises:
        DataError: the file has another format.
    """
    if is_hdf5(path):
        return HDF5Handle(path)
    if is_matlab5(path):
        return MatlabHandle(path)
    if is_npy(path) or (is_zip(path) and torch_content(path) is None):
        return NumpyHandle(path)
    raise DataError(
        f"{path} cannot be opened with a mapping, because it is neither an HDF5 nor a MATLAB nor a "
        "numpy file. Convert it to one of them."
    )


def _field(handle: Handle, field: Any, common_dims: Any, name: str) -> xr.Variable:
    attrs: dict[str, Any] = dict(field) if isinstance(field, Mapping) else {"path": field}
    for key in attrs:
        check_key(key, FIELD_KEYS, f"The field `{name}` of the mapping")
    axes = _axes(attrs.pop("dims", common_dims), name)
    array_path = str(attrs.pop("path", name)).strip("/")
    array = _array(handle, array_path, axes, name)
    dims = [axis for axis in axes if not isinstance(axis, int)]
    canonical = [dim for dim in ("sample", "time") if dim in dims]
    canonical += [dim for dim in dims if dim not in canonical]
    if "*" in array_path or "sample" not in canonical:
        canonical = ["sample", *canonical]
    attrs.setdefault("role", "state" if "time" in canonical else "output")
    return lazy_variable(canonical, array, attrs)


def _axes(dims: Any, name: str) -> list[Any]:
    """The axes of a field, each a name or the index at which it is taken."""
    if not isinstance(dims, list | tuple) or not all(isinstance(d, str | int) for d in dims):
        raise DataError(
            f"The field `{name}` of the mapping has the dims {dims!r}; they must be a list of "
            "names, such as `[sample, time, x]`."
        )
    names = [dim for dim in dims if isinstance(dim, str)]
    if len(set(names)) < len(names):
        raise DataError(f"The field `{name}` of the mapping has an axis twice: {list(dims)}.")
    return list(dims)


def _array(handle: Handle, array_path: str, axes: list[Any], name: str) -> LazyArray:
    """The array of a field with the axes sample, time, space."""
    places = _matching(handle, array_path)
    shape = tuple(handle.array(places[0]).shape)
    if len(axes) != len(shape):
        raise DataError(
            f"{handle.path}: the field `{name}` at `{array_path}` has the shape {shape}, but the "
            f"mapping gives it {len(axes)} dims {axes}. Name every axis; a number instead of a "
            "name selects that index of the axis."
        )
    fixed: dict[int, int] = {}
    for i, axis in enumerate(axes):
        if isinstance(axis, int):
            if not -shape[i] <= axis < shape[i]:
                raise DataError(
                    f"{handle.path}: the field `{name}` has no index {axis} along its axis {i} of "
                    f"length {shape[i]}."
                )
            fixed[i] = axis % shape[i]
    leading = [dim for dim in ("sample", "time") if dim in axes]
    names = [axis for axis in axes if not isinstance(axis, int)]
    canonical = leading + [dim for dim in names if dim not in leading]
    order: list[int | None] = [axes.index(dim) for dim in canonical]
    if "*" in array_path and "sample" in axes:
        raise DataError(
            f"The field `{name}` of the mapping has the axis `sample` and the path `{array_path}`, "
            "which stands for one array per sample. Remove one of them."
        )
    if "sample" not in axes:
        order = [None, *order]
    if "*" not in array_path:
        return StoredArray(handle, places[0], order=order, fixed=fixed)
    parts: Any = GroupArrays(handle, places, order=tuple(order), fixed=fixed)
    if any(handle.array(place).shape != shape for place in places):
        return ConcatenatedArray(parts)
    return ConcatenatedArray(
        parts, shapes=[parts[0].shape] * len(places), dtype=handle.array(places[0]).dtype
    )


def _matching(handle: Handle, array_path: str) -> list[str]:
    """The arrays that a path stands for: itself, or those that match its ``*``."""
    if "*" not in array_path:
        return [array_path]
    names = list(_all_names(handle))
    pattern = re.compile("[^/]*".join(map(re.escape, array_path.split("*"))))
    found = [name for name in names if pattern.fullmatch(name)]
    if not found:
        raise DataError(f"{handle.path} has no array that matches `{array_path}`.")
    return sorted(found, key=_natural_order)


def _all_names(handle: Handle) -> Iterator[str]:
    if isinstance(handle.file, h5py.File):
        names: list[str] = []
        handle.file.visit(names.append)
        yield from names
    else:
        yield from handle.file


def _natural_order(name: str) -> list[tuple[bool, int, str]]:
    """The order in which 10 comes after 9."""
    words = re.split(r"(\d+)", name)
    return [(word.isdigit(), int(word) if word.isdigit() else 0, word) for word in words]


def _parameter(handle: Handle, name: str, array_path: str, samples: int) -> xr.Variable:
    at_file = array_path.startswith("@")
    places = [array_path] if at_file else _matching(handle, array_path.strip("/"))
    values = np.concatenate([_values(handle, place).reshape(-1) for place in places])
    if values.dtype.kind not in "biuf":
        raise DataError(f"{handle.path}: the parameter `{name}` is not a number: {values[0]!r}.")
    if len(values) not in (1, samples):
        raise DataError(
            f"{handle.path}: the parameter `{name}` has {len(values)} values for {samples} samples."
        )
    attrs = {"role": "parameter"}
    if len(values) == 1 and samples > 1:
        return xr.Variable((), values[0], attrs)
    return xr.Variable(("sample",), values, attrs)


def _coordinates(handle: Handle, ds: xr.Dataset, spec: Mapping[str, Any]) -> dict[str, xr.Variable]:
    array_paths = _table(spec, "coords")
    periodic = _names(spec.get("periodic") or [])
    for key, names in (("coords", array_paths), ("periodic", periodic)):
        for name in names:
            check_key(name, tuple(map(str, ds.sizes)), f"`{key}` of the mapping", "axis", "axes")
    coords = {}
    for dim, size in ds.sizes.items():
        name = str(dim)
        if name in array_paths:
            values = _coordinate(handle, name, str(array_paths[name]), size)
        elif name == "sample":
            continue
        else:
            values = np.arange(float(size))
        if name in ("sample", "time"):
            coords[name] = xr.Variable((name,), values)
        else:
            coords[name] = space_coordinate(name, values, periodic=name in periodic)
    return coords


def _coordinate(handle: Handle, name: str, array_path: str, size: int) -> np.ndarray:
    """The coordinate of an axis; times may have one more entry, as PDEBench stores them."""
    values = _values(handle, array_path)
    if sum(n > 1 for n in values.shape) > 1:
        raise DataError(
            f"{handle.path}: the coordinate `{name}` at `{array_path}` has the shape "
            f"{values.shape}, but a coordinate needs one axis."
        )
    values = values.reshape(-1)
    if name == "time" and len(values) == size + 1:
        values = values[:size]
    if len(values) != size:
        raise DataError(
            f"{handle.path}: the coordinate `{name}` has {len(values)} entries, but the fields "
            f"have {size} along it."
        )
    return values


def _values(handle: Handle, array_path: str) -> np.ndarray:
    """A small array of the file, or an attribute if the path begins with ``@``."""
    if array_path.startswith("@"):
        value = None
        if isinstance(handle.file, h5py.File):
            value = get_attribute(handle.file, array_path[1:])
        if value is None:
            raise DataError(
                f"{handle.path} has no attribute `{array_path[1:]}`, which the mapping names."
            )
        return np.asarray(value)
    return np.asarray(handle.array(array_path.strip("/")))


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(name) for name in value]
