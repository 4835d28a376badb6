"""Advection: values ±1, exact transport, the covariance of the field behind it."""

import numpy as np
import pytest

from datasets.advection import Advection


def test_output_is_the_input_half_a_period_away():
    ds = Advection().solve(range(8), resolution=200, seed=0)
    assert set(np.unique(ds["a"])) == {-1.0, 1.0}
    np.testing.assert_array_equal(ds["u"], np.roll(ds["a"], 100, axis=1))
    odd = Advection().solve(range(8), resolution=25, seed=0)
    np.testing.assert_array_equal(odd["a"], ds["a"][:, ::8])
    assert (odd["u"].values != np.roll(odd["a"], 12, axis=1)).any()


def test_signs_agree_as_often_as_the_covariance_says():
    """P(equal signs) = ½ + asin(ρ)/π, ρ the correlation of g at points a quarter period apart."""
    a = Advection().profile(range(3000), np.array([0.0, 0.25]), seed=0)
    j = np.arange(1, 2000)
    variance = 2 / ((2 * np.pi * j) ** 2 + 9) ** 2
    rho = (variance * np.cos(np.pi * j / 2)).sum() / variance.sum()
    assert (a[:, 0] == a[:, 1]).mean() == pytest.approx(0.5 + np.arcsin(rho) / np.pi, abs=0.025)


def test_no_profile_is_constant():
    a = Advection().profile(range(200), np.arange(200) / 200, seed=0)
    assert (a != a[:, :1]).any(axis=1).all()


def test_splits_are_those_of_cvit():
    assert np.bincount(Advection().split(40000)).tolist() == [20000, 10000, 10000]
