"""The check of dims and roles: what a model cannot use is refused before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from fields.io.base import DataError

# Kinds of numpy types whose values are real numbers; objects are converted when they are read.
REAL = "biufO"


def check_roles(ds: xr.Dataset) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs, outputs and parameters of a problem, by the roles of its variables.

    States are both inputs and outputs.

    Raises:
        DataError: there are no inputs and outputs (or states), or outputs beside states.

    Example:
        >>> a, u = (("x", np.zeros(4), {"role": role}) for role in ("input", "output"))
        >>> check_roles(xr.Dataset({"a": a, "u": u}))
        (('a',), ('u',), ())
    """

    def named(role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in ds.data_vars.items() if v.attrs.get("role") == role)

    states = named("state")
    outputs = named("output")
    inputs = (*states, *named("input"))
    if states and outputs:
        raise DataError(
            f"{_listed(outputs)} cannot be an output beside the state {_listed(states)}: a model "
            "predicts either states in time or outputs. Make it a state, or drop it with "
            "`ds.drop_vars`."
        )
    if not inputs or not (states or outputs):
        roles = {str(name): variable.attrs.get("role") for name, variable in ds.data_vars.items()}
        raise DataError(
            f"The data have no input and output (or state) variables: their roles are {roles}. "
            "Set `attrs['role']` of each variable."
        )
    return inputs, states or outputs, named("parameter")


def check_dims(
    ds: xr.Dataset,
    space: Sequence[str],
    *,
    fields: Iterable[str],
    states: Sequence[str],
    params: Iterable[str],
    timed: bool = True,
) -> None:
    """Check the types and the dims of all variables of a problem.

    Inputs and outputs run over exactly the dims ``space``, with or without ``sample``; states also
    over ``time``, and nothing else does. Parameters run over ``sample`` or over nothing.

    Args:
        ds: the dataset.
        space: dims of the points.
        fields: names of inputs and outputs, states included.
        states: names of the states.
        params: names of the constants of the PDE.
        timed: whether the states must have a time axis; a single given frame needs none.

    Raises:
        DataError: a variable does not fit; the message says which and why.

    Example:
        >>> ds = xr.Dataset({"a": ("x", np.zeros(4)), "u": (("x", "z"), np.zeros((4, 2)))})
        >>> check_dims(ds, ("x",), fields=["a", "u"], states=(), params=())
        Traceback (most recent call last):
        fields.io.base.DataError: `u` runs over (x, z), but the points of this problem over (x). ...
    """
    for name in (*fields, *params):
        _check_type(name, ds[name])
    for name in params:
        _check_parameter(name, ds[name])
    for name in fields:
        _check_field(name, ds[name], space, states, timed)


def _check_type(name: str, variable: xr.DataArray) -> None:
    if variable.dtype.kind == "c":
        raise DataError(
            f"`{name}` has complex values, and models take real ones. Split it into "
            f"`{name}_re` and `{name}_im` with `fields.io.split_complex(ds)`."
        )
    if variable.dtype.kind not in REAL:
        raise DataError(
            f"`{name}` has values of type {variable.dtype}, and models take real numbers. Convert "
            "it, or drop it with `ds.drop_vars`."
        )


def _check_parameter(name: str, variable: xr.DataArray) -> None:
    more = [str(dim) for dim in variable.dims if dim != "sample"]
    if more:
        raise DataError(
            f"The parameter `{name}` runs over {_dims(variable)}, but a parameter is one number "
            f"per sample. Make one parameter of each entry along `{more[0]}`, or give a field the "
            "role `input`."
        )


def _check_field(
    name: str, variable: xr.DataArray, space: Sequence[str], states: Sequence[str], timed: bool
) -> None:
    own = [str(dim) for dim in variable.dims if dim not in ("sample", "time")]
    if name in states and timed and "time" not in variable.dims:
        raise DataError(
            f"The state `{name}` runs over {_dims(variable)} and has no time axis. Add the axis "
            "`time`, or give it the role `input` or `output`."
        )
    if "time" in variable.dims and name not in states:
        reason = (
            f"only the states ({_listed(states)}) may change in time. Make it a state"
            if states
            else "this problem has no state that evolves. Give it the role `state`"
        )
        raise DataError(
            f"`{name}` runs over {_dims(variable)}, but {reason}, or select one time with "
            "`ds.isel(time=...)`."
        )
    if not own or not space:
        scalar = f"`{name}` runs over {_dims(variable)}" if not own else "An output has no axis"
        raise DataError(
            f"{scalar}, but a field has a value at every point of space. A number per sample can "
            "be a `parameter`, but it cannot be predicted."
        )
    if sorted(own) != sorted(space):
        raise DataError(
            f"`{name}` runs over ({', '.join(own)}), but the points of this problem over "
            f"({', '.join(space)}). All inputs and outputs must be given at the same points: "
            "interpolate them to one grid (staggered ones to the cell centers), list them over "
            "`point`, or drop the variable."
        )


def check_coordinates(ds: xr.Dataset, names: Iterable[str]) -> None:
    """Check that coordinates are numbers.

    Raises:
        DataError: one holds dates or text.
    """
    for name in names:
        if name in ds.coords and ds[name].dtype.kind not in REAL:
            raise DataError(
                f"The coordinate `{name}` has values of type {ds[name].dtype}. Replace them by "
                "numbers with `ds.assign_coords`."
            )


def check_extent(name: str, low: float, high: float) -> None:
    """Check that the domain has an extent along an axis.

    Raises:
        DataError: its bounds are equal, in the wrong order or not finite.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise DataError(
            f"The domain has no extent along `{name}`: it runs from {low:g} to {high:g}. An axis "
            f"needs at least two points; drop one of a single point with `ds.isel({name}=0)`."
        )


def _dims(variable: xr.DataArray) -> str:
    return "(" + ", ".join(map(str, variable.dims)) + ")"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
