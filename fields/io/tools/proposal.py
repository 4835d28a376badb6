"""Propose a mapping for a file of an unknown layout, to be corrected by the user."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fields.io.archives import npz_shapes
from fields.io.base import DataError
from fields.io.handles import NumpyHandle
from fields.io.hdf5 import open_hdf5
from fields.io.matlab5 import matlab5_arrays
from fields.io.signatures import is_hdf5, is_matlab5, is_npy

Shapes = dict[str, tuple[int, ...]]

MAX_SPACE_AXES = 3


def propose_mapping(path: Path) -> dict[str, Any]:
    """A mapping for an HDF5, MATLAB or numpy file of an unknown layout.

    The largest arrays are taken for fields, and vectors whose length and first letter match an axis
    for its coordinate. Groups with the same arrays are taken for samples.

    Raises:
        DataError: the file contains no numeric arrays.
    """
    shapes = array_shapes(path)
    if not any(shapes.values()):
        raise DataError(f"{path} contains no arrays of numbers, so it has no fields.")
    grouped = _merged_groups(shapes)
    vectors = {place: shape[0] for place, shape in shapes.items() if len(shape) == 1}
    rank = max(len(shape) for shape in grouped.values())
    candidates = {place: shape for place, shape in grouped.items() if len(shape) == rank}
    largest, shape = max(candidates.items(), key=lambda item: int(np.prod(item[1])))
    dims = _guess_dims(shape, vectors, in_groups="*" in largest)
    coords: dict[str, str] = {}
    for dim, size in zip(dims, shape, strict=True):
        place = _coordinate(dim, size, vectors)
        if place is not None:
            coords[dim] = place
    fields = {place.rsplit("/", 1)[-1]: place for place, s in candidates.items() if s == shape}
    parameters = {p.rsplit("/", 1)[-1]: p for p, s in grouped.items() if s == () and "*" in p}
    mapping = {"dims": dims, "fields": fields, "coords": coords}
    return mapping | ({"parameters": parameters} if parameters else {})


def array_shapes(path: Path) -> Shapes:
    """Shapes of the numeric arrays of a file, by their paths in it."""
    if is_matlab5(path):
        return {a.name: a.shape for a in matlab5_arrays(path) if a.numeric}
    if is_npy(path):
        return {"array": NumpyHandle(path).array("array").shape}
    if not is_hdf5(path):
        return npz_shapes(path)
    shapes: Shapes = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in "biufc":
            shapes[f"/{name}"] = item.shape

    with open_hdf5(path) as file:
        file.visititems(visit)
    return shapes


def _merged_groups(shapes: Shapes) -> Shapes:
    """Arrays of the same name and shape in numbered groups, as one place with ``*``."""
    merged: dict[str, list[tuple[int, ...]]] = {}
    for place, shape in shapes.items():
        group, name = place.rsplit("/", 1) if "/" in place else ("", place)
        pattern = re.sub(r"\d+$", "*", group)
        key = f"{pattern}/{name}" if pattern != group else place
        merged.setdefault(key, []).append(shape)
    usable = {key: found for key, found in merged.items() if len(set(found)) == 1}
    if not any("*" in key and len(found) > 1 for key, found in usable.items()):
        return shapes
    return {key: found[0] for key, found in usable.items()}


def _coordinate(dim: str, size: int, vectors: dict[str, int]) -> str | None:
    if dim == "sample":
        return None
    lengths = (size, size + 1) if dim == "time" else (size,)
    matching = [p for p, n in vectors.items() if n in lengths and _first_letter(p) == dim[0]]
    return matching[0] if matching else None


def _first_letter(place: str) -> str:
    return place.rsplit("/", 1)[-1][:1].lower()


def _guess_dims(shape: tuple[int, ...], vectors: dict[str, int], *, in_groups: bool) -> list[str]:
    """Time where a vector ``t…`` has the length of one of the first two axes, then space.

    An axis before or after it, which is not one of space, counts the samples.
    """
    times = {size for place, size in vectors.items() if _first_letter(place) == "t"}
    axes = [i for i in (1, 0) if i < len(shape) - 1]
    exact = [i for i in axes if shape[i] in times]
    # PDEBench stores one time more than there are frames.
    found = exact or [i for i in axes if shape[i] + 1 in times]
    dims: list[str] = []
    if in_groups:
        dims = ["time"] if 0 in found else []
    elif not found:
        dims = ["sample"] if len(shape) > 1 else []
    elif found[0] == 1:
        dims = ["sample", "time"]
    else:
        dims = ["time"] if _is_space(shape[1], vectors) else ["time", "sample"]
    space = len(shape) - len(dims)
    if space <= MAX_SPACE_AXES:
        return dims + ["x", "y", "z"][:space]
    return dims + [f"x{i}" for i in range(space)]


def _is_space(size: int, vectors: dict[str, int]) -> bool:
    """Whether a vector ``x…`` has this length."""
    return any(n == size and _first_letter(place) == "x" for place, n in vectors.items())
