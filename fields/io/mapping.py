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
listed as periodic are not periodic.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
import yaml

from fields.io.base import DataError, check_canonical
from fields.io.grid import space_coordinate
from fields.io.handles import Handle, MatlabHandle, NumpyHandle, torch_content
from fields.io.hdf5 import HDF5Handle
from fields.io.lazy import StoredArray, lazy_variable
from fields.io.signatures import is_hdf5, is_matlab5, is_npy, is_zip

KEYS = ("dims", "fields", "coords", "parameters", "periodic")


def open_mapped(path: Path, mapping: Mapping[str, Any] | str | Path) -> xr.Dataset:
    """Open an HDF5, ``.mat``, ``.npz`` or ``.npy`` file as a mapping describes it.

    Args:
        path: the data file.
        mapping: the mapping as a dict, or the path of a YAML file.

    Raises:
        DataError: the mapping has an unknown key or does not fit the file.
    """
    spec = _load_mapping(mapping)
    handle = _open_handle(path)
    variables: dict[str, Any] = {}
    for name, field in (spec.get("fields") or {}).items():
        variables[str(name)] = _field(handle, field, spec.get("dims"), str(name))
    if not variables:
        raise DataError(
            "The mapping contains no fields. It needs at least `dims` and "
            "`fields: {u: /path/in/file}`."
        )
    ds = xr.Dataset(variables, attrs={"layout": "mapping"})
    for name, array_path in (spec.get("parameters") or {}).items():
        values = _values(handle, str(array_path)).reshape(-1)
        attrs = {"role": "parameter"}
        ds[name] = ((), values[0], attrs) if len(values) == 1 else ("sample", values, attrs)
    ds = ds.assign_coords(_coordinates(handle, ds, spec))
    ds.set_close(handle.close)
    return check_canonical(ds, path)


def _load_mapping(mapping: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if not isinstance(mapping, Mapping):
        try:
            mapping = yaml.safe_load(Path(mapping).read_text())
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise DataError(f"The mapping {mapping} cannot be read: {error}.") from error
    if not isinstance(mapping, Mapping):
        raise DataError(
            "The mapping must be a YAML table with the keys `fields`, `dims` and `coords`, "
            f"not {type(mapping).__name__}."
        )
    for key in mapping:
        if key not in KEYS:
            close = get_close_matches(str(key), KEYS, 1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            raise DataError(
                f"The mapping has the unknown key `{key}`; valid keys are {', '.join(KEYS)}.{hint}"
            )
    return mapping


def _open_handle(path: Path) -> Handle:
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
    attrs: dict[str, Any] = {"path": field} if isinstance(field, str) else dict(field)
    axes: list[Any] = list(attrs.pop("dims", common_dims) or [])
    array_path = str(attrs.pop("path", name))
    fixed = {i: dim for i, dim in enumerate(axes) if isinstance(dim, int)}
    dims = [str(dim) for dim in axes if not isinstance(dim, int)]
    stored = handle.array(array_path.strip("/"))
    if len(axes) != len(stored.shape):
        raise DataError(
            f"{handle.path}: the field `{name}` at `{array_path}` has the shape "
            f"{tuple(stored.shape)}, but the mapping gives it {len(axes)} dims {axes}. Name every "
            "axis; a number instead of a name selects that index of the axis."
        )
    leading = [dim for dim in ("sample", "time") if dim in dims]
    canonical = leading + [dim for dim in dims if dim not in ("sample", "time")]
    order: list[int | None] = [axes.index(dim) for dim in canonical]
    if "sample" not in canonical:
        canonical = ["sample", *canonical]
        order = [None, *order]
    attrs.setdefault("role", "state" if "time" in canonical else "output")
    array = StoredArray(handle, array_path.strip("/"), order=order, fixed=fixed)
    return lazy_variable(canonical, array, attrs)


def _coordinates(handle: Handle, ds: xr.Dataset, spec: Mapping[str, Any]) -> dict[str, xr.Variable]:
    array_paths = spec.get("coords") or {}
    periodic = _names(spec.get("periodic", []))
    coords = {}
    for dim, size in ds.sizes.items():
        name = str(dim)
        if name in array_paths:
            values = _values(handle, str(array_paths[name])).reshape(-1)[:size]
        elif name == "sample":
            continue
        else:
            values = np.arange(float(size))
        if len(values) != size:
            raise DataError(
                f"{handle.path}: the coordinate `{name}` has {len(values)} entries, but the fields "
                f"have {size} along it."
            )
        if name == "time":
            coords[name] = xr.Variable(("time",), values)
        else:
            coords[name] = space_coordinate(name, values, periodic=name in periodic)
    return coords


def _values(handle: Handle, array_path: str) -> np.ndarray:
    """A small array of the file, or an attribute if the path begins with ``@``."""
    if array_path.startswith("@"):
        attrs = handle.file.attrs if isinstance(handle.file, h5py.File) else {}
        if array_path[1:] not in attrs:
            raise DataError(
                f"{handle.path} has no attribute `{array_path[1:]}`, which the mapping names."
            )
        return np.asarray(attrs[array_path[1:]])
    return np.asarray(handle.array(array_path.strip("/")))


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(name) for name in value]
