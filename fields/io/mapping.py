"""Files of unknown layout, opened with a mapping that names their axes.

.. code-block:: yaml

    dims: [sample, time, x]            # axes of the fields; a number fixes that axis at this index
    fields:
      u: /tensor                       # name: place in the file
      a: {path: /init, dims: [sample, x], role: input, units: m}
    coords: {x: /x-coordinate, time: /t-coordinate}
    parameters: {nu: /nu}              # arrays (N) or single numbers; @nu is an attribute of the file
    periodic: [x]

Without ``dims`` of its own a field has the common ones; without ``role`` it is a state if it has an
axis ``time``, else an output. An axis without coordinate is at 0, 1, 2 …
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

from fields.io.base import DataError, check
from fields.io.diagnose import head, is_hdf5, is_zip
from fields.io.grid import axis
from fields.io.handles import Handle, HDF5Handle, MatlabHandle, NumpyHandle
from fields.io.lazy import StoredArray, lazy
from fields.io.readers.neuralop_pt import torch_content

KEYS = ("dims", "fields", "coords", "parameters", "periodic")


def open_mapped(path: Path, mapping: Mapping[str, Any] | str | Path) -> xr.Dataset:
    """Opens HDF5, ``.mat``, ``.npz`` or ``.npy`` as the mapping (a dict, or the path of a YAML file) says."""
    spec = _load(mapping)
    handle = _handle(path)
    periodic = _names(spec.get("periodic", []))
    variables: dict[str, Any] = {}
    for name, field in (spec.get("fields") or {}).items():
        variables[str(name)] = _field(handle, field, spec.get("dims"), str(name))
    if not variables:
        raise DataError(
            "The mapping names no fields. Give at least `fields: {u: /path/in/file}` and `dims`."
        )
    ds = xr.Dataset(variables, attrs={"layout": "mapping"})
    for name, place in (spec.get("parameters") or {}).items():
        values = _values(handle, str(place)).reshape(-1)
        scalar = len(values) == 1
        ds[name] = (
            ((), values[0], {"role": "parameter"})
            if scalar
            else ("sample", values, {"role": "parameter"})
        )
    places = spec.get("coords") or {}
    for dim, size in ds.sizes.items():
        if dim in places:
            values = _values(handle, str(places[dim])).reshape(-1)[:size]
        elif dim == "sample":
            continue
        else:
            values = np.arange(float(size))
        if len(values) != size:
            raise DataError(
                f"{path}: coordinate `{dim}` has {len(values)} entries, the fields have {size} along it."
            )
        coordinate = (
            xr.Variable(("time",), values)
            if dim == "time"
            else axis(str(dim), values, periodic=dim in periodic)
        )
        ds = ds.assign_coords({dim: coordinate})
    ds.set_close(handle.close)
    return check(ds, path)


def _load(mapping: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if not isinstance(mapping, Mapping):
        try:
            mapping = yaml.safe_load(Path(mapping).read_text())
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise DataError(f"The mapping {mapping} cannot be read: {error}.") from error
    if not isinstance(mapping, Mapping):
        raise DataError(
            "A mapping is a table with the keys `fields`, `dims`, `coords`; this one is none."
        )
    for key in mapping:
        if key not in KEYS:
            close = get_close_matches(str(key), KEYS, 1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            raise DataError(
                f"The mapping has an unknown key `{key}`; known are {', '.join(KEYS)}.{hint}"
            )
    return mapping


def _handle(path: Path) -> Handle:
    if is_hdf5(path):
        return HDF5Handle(path)
    start = head(path)
    if start.startswith(b"MATLAB 5.0"):
        return MatlabHandle(path)
    if start.startswith(b"\x93NUMPY") or (is_zip(path) and torch_content(path) is None):
        return NumpyHandle(path)
    raise DataError(f"{path} is neither HDF5, MATLAB nor numpy, so a mapping cannot open it.")


def _field(handle: Handle, field: Any, common: Any, name: str) -> xr.Variable:
    spec: dict[str, Any] = {"path": field} if isinstance(field, str) else dict(field)
    axes: list[Any] = list(spec.pop("dims", common) or [])
    place = str(spec.pop("path", name))
    fixed = {i: dim for i, dim in enumerate(axes) if isinstance(dim, int)}
    dims = [str(dim) for dim in axes if not isinstance(dim, int)]
    stored = handle.array(_place(place))
    if len(axes) != len(stored.shape):
        raise DataError(
            f"{handle.path}: field `{name}` at `{place}` has shape {tuple(stored.shape)}, the mapping gives it "
            f"{len(axes)} dims {axes}. Name every axis; a number fixes one."
        )
    lead = [dim for dim in ("sample", "time") if dim in dims] + [
        dim for dim in dims if dim not in ("sample", "time")
    ]
    order: list[int | None] = [axes.index(dim) for dim in lead]
    if "sample" not in lead:
        lead, order = ["sample", *lead], [None, *order]
    spec.setdefault("role", "state" if "time" in lead else "output")
    return lazy(lead, StoredArray(handle, _place(place), order=order, fixed=fixed), spec)


def _place(place: str) -> str:
    return place.strip("/")


def _values(handle: Handle, place: str) -> np.ndarray:
    if place.startswith("@"):
        attrs = handle.file.attrs if isinstance(handle.file, h5py.File) else {}
        if place[1:] not in attrs:
            raise DataError(f"{handle.path} has no attribute `{place[1:]}` that the mapping names.")
        return np.asarray(attrs[place[1:]])
    return np.asarray(handle.array(_place(place)))


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(name) for name in value]
