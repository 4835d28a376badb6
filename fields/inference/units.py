"""Units of measurement: which strings denote the same quantity, and the factors between them."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, NamedTuple

import xarray as xr

from fields.core.sample import Schema
from fields.io.base import DataError

# (factor, base units with their powers); angles are numbers.
DEFINITIONS: dict[str, tuple[float, dict[str, int]]] = {
    "m": (1.0, {"m": 1}),
    "g": (1e-3, {"kg": 1}),
    "s": (1.0, {"s": 1}),
    "K": (1.0, {"K": 1}),
    "A": (1.0, {"A": 1}),
    "mol": (1.0, {"mol": 1}),
    "Hz": (1.0, {"s": -1}),
    "N": (1.0, {"kg": 1, "m": 1, "s": -2}),
    "Pa": (1.0, {"kg": 1, "m": -1, "s": -2}),
    "bar": (1e5, {"kg": 1, "m": -1, "s": -2}),
    "atm": (101325.0, {"kg": 1, "m": -1, "s": -2}),
    "J": (1.0, {"kg": 1, "m": 2, "s": -2}),
    "W": (1.0, {"kg": 1, "m": 2, "s": -3}),
    "V": (1.0, {"kg": 1, "m": 2, "s": -3, "A": -1}),
    "L": (1e-3, {"m": 3}),
    "l": (1e-3, {"m": 3}),
    "rad": (1.0, {}),
}
PREFIXES = {
    "G": 1e9,
    "M": 1e6,
    "k": 1e3,
    "h": 1e2,
    "d": 1e-1,
    "c": 1e-2,
    "m": 1e-3,
    "u": 1e-6,
    "µ": 1e-6,
    "μ": 1e-6,
    "n": 1e-9,
}
# Units that take no prefix, in terms of others.
WORDS: dict[str, tuple[float, str]] = {
    **dict.fromkeys(("meter", "meters", "metre", "metres"), (1.0, "m")),
    **dict.fromkeys(("sec", "second", "seconds"), (1.0, "s")),
    **dict.fromkeys(("min", "minute", "minutes"), (60.0, "s")),
    **dict.fromkeys(("h", "hr", "hour", "hours"), (3600.0, "s")),
    **dict.fromkeys(("d", "day", "days"), (86400.0, "s")),
    **dict.fromkeys(("kelvin", "Kelvin"), (1.0, "K")),
    **dict.fromkeys(("radian", "radians"), (1.0, "rad")),
    **dict.fromkeys(
        ("deg", "degree", "degrees", "degrees_north", "degrees_east", "°"), (math.pi / 180, "rad")
    ),
    **dict.fromkeys(("kn", "kt", "knot", "knots"), (1852 / 3600, "m s-1")),
    **dict.fromkeys(("ft", "foot", "feet"), (0.3048, "m")),
    "inch": (0.0254, "m"),
    "t": (1e3, "kg"),
    "%": (0.01, "rad"),
}
# (factor, value in kelvin of their zero)
TEMPERATURES = {
    **dict.fromkeys(
        ("degC", "deg_C", "celsius", "Celsius", "°C", "degree_Celsius", "degrees_Celsius"),
        (1.0, 273.15),
    ),
    **dict.fromkeys(("degF", "deg_F", "fahrenheit", "°F"), (5 / 9, 459.67 * 5 / 9)),
}
NUMBERS = ("1", "", "-", "dimensionless", "none")
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
FACTOR = re.compile(r"(?P<name>[^\W\d]+|[°%]\w*|1)\^?(?P<power>[-+]?\d+)?")
SEPARATORS = re.compile(r"\s*(/)\s*|[\s.·*]+")


class Unit(NamedTuple):
    """A unit: value in SI base units = factor · value + offset.

    Args:
        factor: SI base units in one of it.
        offset: value in SI base units of its zero.
        powers: power of each base unit that occurs, sorted.

    Example:
        >>> parse_unit("km h-1")
        Unit(factor=0.2777777777777778, offset=0.0, powers=(('m', 1), ('s', -1)))
    """

    factor: float
    offset: float
    powers: tuple[tuple[str, int], ...]


def parse_unit(text: str) -> Unit | None:
    """Read a unit such as ``m s-1``, ``kg/m^3``, ``hPa`` or ``degC``; None if it is not known.

    Example:
        >>> parse_unit("hPa").factor, parse_unit("degC").offset, parse_unit("furlong")
        (100.0, 273.15, None)
    """
    text = text.strip().translate(SUPERSCRIPTS)
    if text.lower() in NUMBERS:
        return Unit(1.0, 0.0, ())
    if text in TEMPERATURES:
        return Unit(*TEMPERATURES[text], (("K", 1),))
    factor = 1.0
    powers: Counter[str] = Counter()
    sign = 1
    pieces = [piece for piece in SEPARATORS.split(text.replace("**", "^")) if piece]
    if pieces[-1:] in ([], ["/"]):
        return None
    for piece in pieces:
        if piece == "/":
            sign = -1
        else:
            found = FACTOR.fullmatch(piece)
            known = found and _named(found["name"])
            if not found or not known:
                return None
            power = sign * int(found["power"] or 1)
            factor *= known[0] ** power
            for base, count in known[1].items():
                powers[base] += count * power
            sign = 1
    return Unit(factor, 0.0, tuple(sorted((base, n) for base, n in powers.items() if n)))


def _named(name: str) -> tuple[float, dict[str, int]] | None:
    """Factor and base units of one name with its prefix; None if it is not known."""
    if name == "1":
        return 1.0, {}
    if name in WORDS:
        factor, other = WORDS[name]
        unit = parse_unit(other)
        assert unit is not None, f"the table defines {name} by {other}"
        return factor * unit.factor, dict(unit.powers)
    if name in DEFINITIONS:
        return DEFINITIONS[name]
    if name[0] in PREFIXES and name[1:] in DEFINITIONS:
        factor, powers = DEFINITIONS[name[1:]]
        return PREFIXES[name[0]] * factor, powers
    return None


def to_units_of(ds: xr.Dataset, schema: Schema) -> xr.Dataset:
    """Convert coordinates, inputs, parameters and times to the units that a model was trained in.

    Variables without a unit, on either side, are taken as they are.

    Args:
        ds: the data; an attribute ``units`` states the unit of a variable.
        schema: gives the units of the model.

    Raises:
        DataError: a unit cannot be converted.

    Example:
        >>> schema = Schema(("x",), ("a",), ("u",), units={"a": "K"}, bounds=((0.0, 1.0),))
        >>> ds = xr.Dataset({"a": ("x", [0.0, 20.0], {"units": "degC"})})
        >>> to_units_of(ds, schema)["a"].values.tolist()
        [273.15, 293.15]
    """
    names = (*schema.coords, *schema.inputs, *schema.params, "time", "sample_time")
    for name in dict.fromkeys(names):
        wanted = schema.units.get("time" if name == "sample_time" else name, "")
        if name not in ds.variables or not wanted:
            continue
        given = str(ds[name].attrs.get("units", ""))
        if name.endswith("time"):  # only durations matter, not the date that they count from
            given = given.split(" since ")[0]
            wanted = wanted.split(" since ")[0]
        if given.strip() and given.strip() != wanted.strip():
            ds = _converted(ds, name, given, wanted)
    return ds


def conversion(given: str, wanted: str) -> tuple[float, float] | None:
    """Find (scale, shift) with wanted = scale · given + shift; None if there is no such map.

    Example:
        >>> conversion("km", "m"), conversion("km", "s"), conversion("psu", "g kg-1")
        ((1000.0, 0.0), None, None)
    """
    one = parse_unit(given)
    other = parse_unit(wanted)
    if one is None or other is None or one.powers != other.powers:
        return None
    return one.factor / other.factor, (one.offset - other.offset) / other.factor


def _converted(ds: xr.Dataset, name: str, given: str, wanted: str) -> xr.Dataset:
    found = conversion(given, wanted)
    if found is None:
        raise DataError(
            f"{name!r} is given in the unit {given!r}, but the model was trained with {wanted!r}, "
            f"and no conversion is known. Convert it, and set ds[{name!r}].attrs['units'] to "
            f"{wanted!r}."
        )
    scale, shift = found
    if (scale, shift) == (1.0, 0.0):
        return ds
    variable = ds[name].variable
    attrs: dict[str, Any] = {**variable.attrs, "units": wanted}
    bounds = attrs.get("bounds")
    if bounds is not None and not isinstance(bounds, str):
        attrs["bounds"] = tuple(scale * float(end) + shift for end in bounds)
    values = variable.astype("float64") * scale + shift
    converted = xr.Variable(variable.dims, values.data, attrs)
    if name in ds.coords:
        return ds.assign_coords({name: converted})
    return ds.assign({name: converted})
