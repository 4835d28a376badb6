"""The canonical form that every layout is opened into, and the base class of readers.

``open_dataset`` returns a lazy :class:`xarray.Dataset` in *canonical form*, whatever the layout of
the file. The native layout stores exactly this form as netCDF-4.

Dimensions: ``sample`` first, then ``time`` for evolution problems, then either one dimension per
space axis (``x``, ``y``, …, each with a 1-D coordinate of the same name) or one dimension
``point``. In the latter case the coordinates ``x``, ``y``, … are variables over (``point``) or
(``sample``, ``point``), and samples with fewer points are padded with NaN coordinates. Each
component of a vector or tensor is a variable of its own, named ``velocity_x``, ``D_xy``.

Every data variable carries ``attrs["role"]``:

=============  =================================================================================
``input``      a given function (coefficient, initial state, geometry)
``output``     a function to predict
``state``      evolves in time: its first frames are given, the later ones are to be predicted
``parameter``  constants of the PDE, with dimensions (``sample``) or ()
=============  =================================================================================

and, where known, ``units`` and ``long_name``. Coordinates keep their stored values and carry, where
the file provides them, ``units``, ``periodic`` (0 or 1), ``bounds`` (lower and upper end of the
domain; for a periodic axis their difference is the period) and ``boundary`` (the boundary
conditions at the lower and upper end, such as ``wall wall``). If an axis differs between samples,
its coordinate holds the values of the first sample, and ``sample_time``, ``sample_x``, … over
(``sample``, axis) hold the values of all samples.

An ``input`` over ``point`` with ``attrs["quadrature"] = 1`` holds the weights wⱼ of the quadrature
∫ f dx ≈ Σⱼ wⱼ f(xⱼ). If several input functions are given at different points, their points are
concatenated along ``point``, and each function is NaN at the points of the others.

Coordinates that no network reads: ``triangles`` over (``triangle``, ``corner``) of a mesh;
``longitude``, ``latitude`` over two axes of a curvilinear grid.

NaN in a field on a grid marks missing values (land, padding), at the same points in every sample
and frame; ``attrs["missing"] = 1`` declares that the points differ among samples.

A coordinate ``split`` over ``sample`` (int8: 0 train, 1 validation, 2 test) records the split if
the file has one. Attributes of the dataset: ``layout``, ``problem``, ``protocol`` (JSON: recipe,
seeds, references) and ``symmetries``: a JSON list of generators under which the solution operator
is equivariant. Each generator is an object with any of the keys ``flip`` (axes mirrored at the
center of the domain), ``permute`` (new order of all space axes), ``shift`` (periodic axes that may
be translated) and ``negate`` (variables that change sign).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

SPLITS = ("train", "validation", "test")

ROLES = ("input", "output", "state", "parameter")


class DataError(ValueError):
    """A data file cannot be used as requested; the message states the problem and the remedy.

    Example:
        >>> from fields.io import open_dataset
        >>> open_dataset("missing.h5")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        fields.io.base.DataError: missing.h5 does not exist. ...
    """


class Specificity(IntEnum):
    """How strongly the content of a file identifies its layout.

    Readers are asked in decreasing specificity, so that a file with the names of a known project is
    not claimed by a reader of a general format. Two readers of the same specificity must never
    recognize the same file; the tests check this on the example files of all layouts.

    Example:
        >>> Specificity.NAMES > Specificity.CONVENTION
        True
    """

    CONVENTION = 0
    """The file follows a general convention, such as CF netCDF."""

    SHAPES = 1
    """The shapes of the arrays fit, but their names are common or absent."""

    NAMES = 2
    """The file has names (of arrays, groups or files) that only this layout uses."""

    SIGNATURE = 3
    """The file states its layout."""


class Reader(ABC):
    """Base class of readers: one file layout, recognized by content and opened in canonical form.

    Every subclass in a module of :mod:`fields.io.readers` is found by walking that package, so that
    adding a layout takes one new file. A reader has no constructor arguments and no state.

    Attributes:
        layout: unique name of the layout; the dataset carries it as ``attrs["layout"]``.
        specificity: when the reader is asked, compared with others (see :class:`Specificity`).
        engine: name of the xarray engine that opens the layout, one of the entry points in
            ``pyproject.toml``; the default opens every layout.

    Example:
        >>> from fields.io.readers import all_readers
        >>> [reader.layout for reader in all_readers()][:2]
        ['bracketfields', 'dino']
    """

    layout: ClassVar[str]
    specificity: ClassVar[Specificity] = Specificity.NAMES
    engine: ClassVar[str] = "bracketfields"

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether an existing file or directory has this layout, judged by content only.

        The file name suffix must not matter. The check is made for every file that is opened, so it
        should read names, attributes and shapes, but no values of fields.
        """

    @abstractmethod
    def open(self, path: Path, **options: Any) -> xr.Dataset:
        """Open a recognized file or directory as a lazy dataset in canonical form.

        Fields are returned as lazy variables (:func:`fields.io.lazy.lazy_variable`), whose values
        are read when they are indexed. A subclass lists its options as keyword-only arguments.
        """


def check_canonical(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """Return ``ds`` unchanged if it is in canonical form.

    Raises:
        DataError: the dataset has no variables, a role or an axis is invalid.
    """
    if not ds.data_vars:
        raise DataError(f"{path} contains no fields: none of its arrays varies over samples.")
    for name, variable in ds.data_vars.items():
        role = variable.attrs.get("role")
        if role not in ROLES:
            raise DataError(
                f"{path}: variable `{name}` has the role {role!r}; valid roles are "
                f"{', '.join(ROLES)}."
            )
    for name, size in ds.sizes.items():
        if size == 0:
            raise DataError(f"{path}: the axis `{name}` has length 0, so there is no data to read.")
        is_axis = name in ds.coords and ds[name].dims == (name,)
        if is_axis and np.issubdtype(ds[name].dtype, np.number):
            _check_monotonic(str(name), np.asarray(ds[name].values), path)
    return ds


def _check_monotonic(name: str, values: np.ndarray, path: Path) -> None:
    if not np.isfinite(values).all():
        index = int(np.argmin(np.isfinite(values)))
        raise DataError(f"{path}: the coordinate `{name}` is not finite at index {index}.")
    steps = np.diff(values)
    if len(steps) == 0:
        return
    wrong = ~(steps > 0) if steps[0] > 0 else ~(steps < 0)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"{path}: the coordinate `{name}` is not strictly monotonic: {values[i]} at index {i} "
            f"is followed by {values[i + 1]}. Sort the file along this axis or correct the "
            "coordinate."
        )
