"""The one in-memory form that every file layout is opened into, and what a reader is.

``open_dataset`` answers with a lazy :class:`xarray.Dataset` in *canonical form*, whatever the file's layout; our own
layout stores exactly this form as netCDF-4.

Dims: ``sample`` first, then ``time`` for evolution problems, then either one dim per space axis (``x``, ``y``, …, each
with a 1-D coordinate of the same name) or one dim ``point`` (coordinates ``x``, ``y``, … are then variables over
(``point``) or (``sample``, ``point``), ragged samples padded with NaN coordinates).

Data variables carry ``attrs["role"]``:

=============  ==========================================================================================
``input``      given function (coefficient, initial state, geometry)
``output``     wanted function
``state``      evolves in time: its first frames are given, the later ones wanted
``parameter``  constants of the PDE, dims (``sample``) or ()
=============  ==========================================================================================

and, where known, ``units`` and ``long_name``. Coordinates are kept exactly as stored and carry ``units``, ``periodic``
(0 or 1) and ``bounds`` (low, high of the domain; for a periodic axis high − low is the period).

A coordinate ``split`` over ``sample`` (int8: 0 train, 1 validation, 2 test) records the split if the file has one.
Dataset attributes: ``layout``, ``problem``, ``protocol`` (JSON: recipe, seeds, references) and ``symmetries``: a JSON list of
generators under which the solution operator is equivariant, each an object with any of ``flip`` (axes mirrored at the centre
of the domain), ``permute`` (new order of all space axes), ``shift`` (periodic axes that may be translated) and ``negate``
(variables that change sign).
"""

from __future__ import annotations

SPLITS = ("train", "validation", "test")
