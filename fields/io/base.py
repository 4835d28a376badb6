"""The one in-memory form that every file layout is opened into, and what a reader is.

``open_dataset`` answers with a lazy :class:`xarray.Dataset` in *canonical form*, whatever the
file's layout; our own layout stores exactly this form as netCDF-4.

Dims: ``sample`` first, then ``time`` for evolution problems, then either one dim per space axis
(``x``, ``y``, …, each with a 1-D coordinate of the same name) or one dim ``point`` (coordinates
``x``, ``y``, … are then variables over (``point``) or (``sample``, ``point``), ragged samples
padded with NaN coordinates). The components of vectors and tensors are variables of their own,
named ``velocity_x``, ``D_xy``.

Data variables carry ``attrs["role"]``:

=============  ==========================================================================================
``input``      given function (coefficient, initial state, geometry)
``output``     wanted function
``state``      evolves in time: its first frames are given, the later ones wanted
``parameter``  constants of the PDE, dims (``sample``) or ()
=============  ==========================================================================================

and, where known, ``units`` and ``long_name``. Coordinates are kept exactly as stored and carry,
where the file tells, ``units``, ``periodic`` (0 or 1), ``bounds`` (low, high of the domain; for a
periodic axis high − low is the period) and ``boundary`` (the condition at the low and high end,
such as ``wall wall``). Where an axis differs from sample to sample, its coordinate is the first
sample's and ``sample_time``, ``sample_x``, … over (``sample``, axis) hold them all.

An ``input`` over ``point`` with ``attrs["quadrature"] = 1`` holds the weights wⱼ of ∫ f dx ≈ Σⱼ wⱼ
f(xⱼ). Several input
functions with points of their own share the axis ``point``, one after the other: each is NaN where
it is not given.

Coordinates that no network reads: ``triangles`` over (``triangle``, ``corner``) of a mesh;
``longitude``, ``latitude`` over two axes of a curvilinear grid. NaN in a field means "no value
here" (land, padding).

A coordinate ``split`` over ``sample`` (int8: 0 train, 1 validation, 2 test) records the split if
the file has one.
Dataset attributes: ``layout``, ``problem``, ``protocol`` (JSON: recipe, seeds, references) and
``symmetries``: a JSON list of generators under which the solution operator is equivariant, each an
object with any of ``flip`` (axes mirrored at the center of the domain), ``permute`` (new order of
all space axes), ``shift`` (periodic axes that may be translated) and ``negate`` (variables that
change sign).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

SPLITS = ("train", "validation", "test")

ROLES = ("input", "output", "state", "parameter")


class DataError(ValueError):
    """A file that cannot be read as asked: the message says what was found, why it cannot work and what to do."""


class Reader(ABC):
    """One file layout: tells its own files by their content and opens them into canonical form."""

    layout: str

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether the content (never the suffix) of an existing file or directory has this layout; quick."""

    @abstractmethod
    def open(self, path: Path, **options: Any) -> xr.Dataset:
        """The lazy dataset in canonical form."""


def check(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """``ds`` itself, or a :class:`DataError` that says where it leaves the canonical form."""
    if not ds.data_vars:
        raise DataError(
            f"{path} holds no fields. Look inside with `python -m fields inspect {path}`."
        )
    for name, variable in ds.data_vars.items():
        if variable.attrs.get("role") not in ROLES:
            raise DataError(
                f"{path}: variable `{name}` has role {variable.attrs.get('role')!r}; it must be one of {ROLES}."
            )
    for name, size in ds.sizes.items():
        if size == 0:
            raise DataError(f"{path}: the axis `{name}` has length 0, so there is nothing to read.")
        if (
            name in ds.coords
            and ds[name].dims == (name,)
            and np.issubdtype(ds[name].dtype, np.number)
        ):
            _check_monotone(str(name), np.asarray(ds[name].values), path)
    return ds


def _check_monotone(name: str, values: np.ndarray, path: Path) -> None:
    steps = np.diff(values)
    wrong = ~(steps > 0) if len(steps) and steps[0] > 0 else ~(steps < 0)
    if not np.isfinite(values).all():
        raise DataError(
            f"{path}: coordinate `{name}` is not finite at index {int(np.argmin(np.isfinite(values)))}."
        )
    if len(steps) and wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"{path}: coordinate `{name}` is not monotone: {values[i]} at index {i} is followed by {values[i + 1]}. "
            "Sort the file along this axis, or write the right coordinate."
        )
