"""The spectral solver: order in time, exactness of the linear part, no aliasing, resampling."""

import math

import pytest
import torch

from datasets.solvers.spectral import ETDRK4, resample, sample_at, two_thirds, wavenumbers


def test_etdrk4_has_order_four():
    """v' = λ v − v³, stiff λ and mild λ, against v² = λ e^{2λt} / (c + e^{2λt})."""
    rate = torch.tensor([-40.0, -1.0, 0.0, 0.5], dtype=torch.float64)

    def error(steps):
        v = ETDRK4(rate, lambda v: -(v**3), dt=1 / steps).run(
            torch.ones(4, dtype=torch.float64), steps=steps
        )
        growth = torch.exp(2 * rate)
        exact = torch.where(
            rate == 0,
            1 / math.sqrt(3),
            (growth / (1 + (1 - growth) / (-rate + (rate == 0)))).sqrt(),
        )
        return (v - exact).abs()[1:].max()

    assert 3.8 < math.log2(error(16) / error(32)) < 4.3


def test_etdrk4_is_exact_for_linear_problems():
    rate = torch.tensor([-1e4, -1.0, 0.0, 3j], dtype=torch.complex128)
    v = ETDRK4(rate, torch.zeros_like, dt=0.25).run(torch.ones(4, dtype=torch.complex128), steps=8)
    torch.testing.assert_close(v, torch.exp(2 * rate), rtol=1e-13, atol=1e-13)


def test_etdrk4_says_when_it_blows_up():
    with pytest.raises(FloatingPointError, match="smaller steps"):
        ETDRK4(torch.zeros(1, dtype=torch.float64), lambda v: v**3, dt=1.0).run(
            torch.full((1,), 9.0).double(), steps=9
        )


@pytest.mark.parametrize("points", [24, 25])
def test_two_thirds_removes_aliasing_of_products(points):
    """The product of two fields agrees, on kept modes, with that formed on a grid twice as fine."""
    torch.manual_seed(0)
    keep = two_thirds((points,))
    v, w = (torch.fft.rfft(torch.randn(points, dtype=torch.float64)) * keep for _ in range(2))
    product = torch.fft.rfft(torch.fft.irfft(v, n=points) * torch.fft.irfft(w, n=points)) * keep
    fine = [sample_at(z, points, 2 * points) for z in (v, w)]
    exact = resample(torch.fft.rfft(fine[0] * fine[1]), 2 * points, points) * keep
    torch.testing.assert_close(product, exact, rtol=1e-12, atol=1e-12)


def test_sampling_is_evaluation_at_the_stated_points():
    v = torch.zeros(33, dtype=torch.complex128)
    v[5] = 32
    for points in (7, 16, 64, 100):
        x = torch.arange(points).double() / points
        torch.testing.assert_close(
            sample_at(v, 64, points), torch.cos(2 * torch.pi * 5 * x), rtol=0, atol=1e-13
        )


def test_wavenumbers_differentiate():
    (k,) = wavenumbers((32,), (3.0,))
    x = 3 * torch.arange(32).double() / 32
    u = torch.exp(torch.sin(2 * torch.pi * x / 3))
    slope = torch.fft.irfft(1j * k * torch.fft.rfft(u), n=32)
    torch.testing.assert_close(
        slope, u * torch.cos(2 * torch.pi * x / 3) * 2 * torch.pi / 3, rtol=0, atol=1e-9
    )
