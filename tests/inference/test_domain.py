"""Coordinates and units of what `predict` is given: right, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from problems import operator, waves

import fields
from fields.core.sample import Schema
from fields.data import schema_of
from fields.encoders.windowed_moments import WindowedMoments
from fields.inference.domain import check_domain, check_requested
from fields.inference.units import conversion, parse_unit

BURGERS = "burgers"


def profile(x: np.ndarray, **attrs: object) -> xr.Dataset:
    """One input of the Burgers model, sin 2πj/n at the points j, with coordinates x."""
    a = np.sin(2 * np.pi * np.arange(len(x)) / len(x))
    return xr.Dataset({"a": ("x", a)}, coords={"x": ("x", x, attrs)})


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("indices", np.arange(128.0)),
        ("degrees", 360 * np.arange(128) / 128),
        ("scaled period", 2 * np.arange(128) / 128),
        ("shrunk period", 0.5 * np.arange(128) / 128),
        ("half of the domain", np.arange(64) / 128),
        ("shifted by a third of a period", np.arange(128) / 128 + 1 / 3),
        ("both ends of the period", np.linspace(0, 1, 129)),
    ],
)
def test_grids_of_another_period_are_refused(name, x):
    with pytest.raises(fields.DataError, match=r"along 'x'"):
        fields.load(BURGERS).predict(profile(x))


def test_stated_bounds_of_another_period_are_refused():
    ds = profile(np.arange(128) / 128, periodic=1, bounds=(0.0, 10.0))
    with pytest.raises(fields.DataError, match="period 10, but the model's is 1"):
        fields.load(BURGERS).predict(ds)


@pytest.mark.parametrize("shift", [-3, 1, 7])
@pytest.mark.parametrize("points", [100, 128])
def test_whole_periods_and_cell_centers_are_the_same_grid(shift, points):
    model = fields.load(BURGERS)
    x = np.arange(points) / points
    own = model.predict(profile(x)).u
    np.testing.assert_allclose(model.predict(profile(x + shift)).u, own, atol=2e-5)
    centers = x + 0.5 / points
    assert np.isfinite(model.predict(profile(centers)).u).all()


def test_every_second_point_of_a_grid_of_odd_size_is_a_grid_of_the_period():
    schema = Schema(("x",), ("a",), ("u",), periodic=(True,), bounds=((0.0, 1.0),))
    x = np.arange(101) / 101
    for stride in (1, 2, 4):
        check_domain(xr.Dataset(coords={"x": x[::stride]}), schema)
        check_domain(xr.Dataset(coords={"x": x[::-stride]}), schema)


def test_points_of_every_sample_lie_in_the_domain():
    """Points of their own were checked for no sample."""
    schema = Schema(("x", "y"), ("a",), ("u",), periodic=(False, True), bounds=((0, 1), (0, 1)))
    x = np.array([[0.1, 0.9], [0.5, np.nan]])
    y = np.array([[0.2, 1.9], [-0.5, np.nan]])

    def points(x: np.ndarray, y: np.ndarray) -> xr.Dataset:
        dims = ("sample", "point")
        return xr.Dataset(coords={"x": (dims, x), "y": (dims, y)})

    check_domain(points(x, y), schema)
    for a, b, message in (
        (x + np.array([[0], [0.6]]), y, "'x' runs from 0.1 to 1.1"),
        (x, y + np.array([[0], [3]]), "'y' runs from 0.2 to 2.5"),
        (x + np.array([[0, np.inf], [0, 0]]), y, "'x' is inf at index 0, 1"),
    ):
        with pytest.raises(fields.DataError, match=message):
            check_domain(points(a, b), schema)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 4.0, -1.5])
def test_requested_points_are_finite_and_at_most_a_period_outside(bad):
    model = fields.load(BURGERS)
    ds = profile(np.arange(128) / 128)
    with pytest.raises(fields.DataError, match="'x'"):
        model.predict(ds, at={"x": [0.1, bad]})
    inside, outside = model.predict(ds, at={"x": [0.3, 1.3]}).u.values[0]
    assert inside == pytest.approx(outside, abs=1e-5)


def test_axes_that_differ_between_samples_are_refused():
    schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
    own = {"x": [0.0, 1.0], "sample_x": (("sample", "x"), [[0.0, 1.0], [0.0, 0.5]])}
    with pytest.raises(fields.DataError, match="differs between the samples"):
        check_domain(xr.Dataset(coords=own), schema)


def test_one_requested_number_is_one_point_and_text_is_refused():
    schema = Schema(("x",), ("a",), ("u",), bounds=((0.0, 1.0),))
    check_requested(xr.Dataset(coords={"x": [0.5]}), schema)
    model = fields.load(BURGERS)
    ds = profile(np.arange(128) / 128)
    assert model.predict(ds, at={"x": 0.5}).sizes["x"] == 1
    for bad, message in (("left", "numbers"), ([[0.1, 0.2]], "2 axes"), ([], "no points")):
        with pytest.raises(fields.DataError, match=message):
            model.predict(ds, at={"x": bad})


@pytest.mark.parametrize(
    ("given", "wanted", "value", "expected"),
    [
        ("degC", "K", 20.0, 293.15),
        ("K", "°C", 0.0, -273.15),
        ("degF", "degC", 212.0, 100.0),
        ("km", "m", 1.5, 1500.0),
        ("hPa", "Pa", 1013.25, 101325.0),
        ("bar", "kg m-1 s-2", 1.0, 1e5),
        ("km/h", "m s-1", 36.0, 10.0),
        ("m/s^2", "cm s**-2", 1.0, 100.0),
        ("knots", "m s-1", 1.0, 1852 / 3600),
        ("kWh", "J", 1.0, None),  # not in the table
        ("degrees", "rad", 180.0, np.pi),
        ("m²", "cm^2", 1.0, 1e4),
        ("W m⁻²", "kW m-2", 1000.0, 1.0),
        ("hours", "s", 2.0, 7200.0),
        ("mm d-1", "m s-1", 86400.0, 1e-3),
        ("g kg-1", "1", 1.0, 1e-3),
        ("m", "s", 1.0, None),
        ("furlong", "m", 1.0, None),
    ],
)
def test_units_are_converted(given, wanted, value, expected):
    found = conversion(given, wanted)
    if expected is None:
        assert found is None
        return
    scale, shift = found
    assert scale * value + shift == pytest.approx(expected, rel=1e-12, abs=1e-9)
    back_scale, back_shift = conversion(wanted, given)
    assert back_scale * expected + back_shift == pytest.approx(value, abs=1e-9)


def test_unknown_words_are_not_units():
    assert all(parse_unit(word) is None for word in ("psu", "m s-", "//", "3 m", "m^s", "k", "dm!"))


def test_inputs_and_coordinates_in_other_units_give_the_same_answer(operator_in):
    model, ds = operator_in
    own = model.predict(ds)
    other = ds.assign(a=ds.a - 273.15).assign_coords(x=ds.x / 1000)
    other["a"].attrs["units"] = "degC"
    other["x"].attrs.update(units="km", bounds=(0.0, 1e-3), periodic=1)
    got = model.predict(other)
    np.testing.assert_allclose(got.u, own.u, atol=1e-4)
    np.testing.assert_allclose(got.x, own.x, atol=1e-9)
    assert got.x.attrs["units"] == "m"
    at = {"x": xr.DataArray(own.x.values[:3] * 100, dims="x", attrs={"units": "cm"})}
    np.testing.assert_allclose(model.predict(ds, at=at).u, own.u[:, :3], atol=1e-4)


def test_units_without_a_conversion_are_refused(operator_in):
    model, ds = operator_in
    for name, unit in (("a", "Pa"), ("a", "counts"), ("x", "s")):
        other = ds.copy(deep=True)
        other[name].attrs["units"] = unit
        with pytest.raises(fields.DataError, match=f"'{name}' is given in the unit '{unit}'"):
            model.predict(other)
    bare = ds.copy(deep=True)
    del bare["a"].attrs["units"], bare["x"].attrs["units"]
    np.testing.assert_array_equal(model.predict(bare).u, model.predict(ds).u)


@pytest.fixture
def operator_in():
    """An untrained model with coordinates in m and an input in K, and its data."""
    model = operator((True,))
    model.schema = replace(model.schema, units={"a": "K", "x": "m", "u": "J"})
    return model, waves(2, (32,), (True,))


def test_windowed_moments_refuse_uneven_axes_and_empty_windows():
    model = fields.load(BURGERS)
    random = np.random.default_rng(0)
    even = np.arange(128) / 128
    for x in (
        np.sort(random.random(128)),
        even + 0.3 * np.sin(2 * np.pi * even) / (2 * np.pi),
        even[[0, 1, 5, 9, 40, 77, 120]],
    ):
        x = x - x[0]
        with pytest.raises(fields.DataError, match="not evenly spaced"):
            model.predict(profile(x))
    with pytest.raises(fields.DataError, match="leave a gap"):
        model.predict(profile(np.arange(8) / 8))
    jitter = even + 1e-6 * random.random(128)  # the rounding of coordinates is not unevenness
    assert np.isfinite(model.predict(profile(jitter)).u).all()


def test_windowed_moments_refuse_uneven_axes_in_two_dimensions():
    schema = Schema(("x", "y"), ("a",), ("u",), bounds=((0.0, 1.0), (0.0, 1.0)), grid=(16, 16))
    encoder = WindowedMoments(16, schema, tokens=(4, 4))
    even = torch.linspace(-0.5, 0.5, 16)
    for x, y in ((even, even), (even.flip(0), even)):
        encoder.check(torch.cartesian_prod(x, y))
    stretched = even.sign() * (2 * even).square() / 2
    with pytest.raises(ValueError, match="axis 1 are not evenly spaced"):
        encoder.check(torch.cartesian_prod(even, stretched))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda ds: ds.a.values, "was given a ndarray"),
        (lambda ds: {"a": ds.a.values}, "was given a dict"),
        (lambda ds: ds.isel(sample=slice(0)), "no samples"),
        (lambda ds: ds * 1e30, "is not finite"),
        (lambda ds: ds.rename(sample="member"), "member"),
    ],
)
def test_what_is_no_dataset_of_samples_is_refused(given, message):
    ds = profile(np.arange(128) / 128).expand_dims(sample=2)
    with pytest.raises(fields.DataError, match=message):
        fields.load(BURGERS).predict(given(ds))


def test_one_array_is_a_dataset():
    model = fields.load(BURGERS)
    ds = profile(np.arange(128) / 128)
    np.testing.assert_array_equal(model.predict(ds.a).u, model.predict(ds).u)


@pytest.mark.parametrize("times", [[np.nan], np.array([1], "m8[s]"), ["soon"], [np.inf]])
def test_times_that_are_no_finite_numbers_are_refused(times):
    model = fields.load("heat")
    ds = xr.Dataset({"u": ("x", np.zeros(64))}, coords={"x": np.arange(64) / 64})
    with pytest.raises(fields.DataError, match="`times` are"):
        model.predict(ds, times=times)


def test_weights_in_half_precision_are_refused():
    model = fields.load(BURGERS).bfloat16()
    with pytest.raises(fields.DataError, match="bfloat16"):
        model.predict(profile(np.arange(128) / 128))


def test_another_default_type_of_torch_changes_nothing():
    ds = profile(np.arange(128) / 128)
    model = fields.load(BURGERS)
    expected = model.predict(ds).u
    torch.set_default_dtype(torch.float64)
    try:
        got = model.predict(ds).u
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(got, expected)


def test_schemas_of_the_data_are_inside_their_own_domain():
    for sizes, periodic in (((12,), (True,)), ((6, 5), (True, False)), ((7,), (False,))):
        ds = waves(2, sizes, periodic)
        check_domain(ds, schema_of(ds))
