"""Burgers against the Cole–Hopf solution, computed by quadrature and by the heat semigroup."""

import numpy as np
import pytest
import torch

from datasets.burgers import MODES, Burgers
from datasets.solvers.spectral import resample, sample_at


def antiderivative(a: torch.Tensor, points: int) -> np.ndarray:
    """∫a on `points` points, exact for the trigonometric polynomial with these coefficients."""
    k = 2 * np.pi * np.arange(1, MODES + 1)
    integral = np.concatenate([[0], a.numpy()[1:] / (1j * k)])
    return np.fft.irfft(np.pad(integral, (0, points // 2 - MODES)) * points / (2 * MODES), n=points)


def heat_semigroup(a: torch.Tensor, nu: float, points: int = 4096) -> np.ndarray:
    """u = −2ν φ_x/φ with φ_t = ν φ_xx, φ(0) = exp(−∫a / 2ν)."""
    k = 2 * np.pi * np.arange(points // 2 + 1)
    phi = np.fft.rfft(np.exp(-antiderivative(a, points) / (2 * nu))) * np.exp(-nu * k**2)
    return -2 * nu * np.fft.irfft(1j * k * phi, n=points) / np.fft.irfft(phi, n=points)


def quadrature(a: torch.Tensor, nu: float, x: np.ndarray, points: int = 8192) -> np.ndarray:
    """u(x, 1) = ∫ (x − y) w dy / ∫ w dy, w = exp(−(x − y)²/4ν − ∫a/2ν), y over five periods."""
    y = np.arange(-2 * points, 3 * points) / points
    log_w = -((x[:, None] - y) ** 2) / (4 * nu) - np.tile(antiderivative(a, points), 5) / (2 * nu)
    w = np.exp(log_w - log_w.max(1, keepdims=True))
    return ((x[:, None] - y) * w).sum(1) / w.sum(1)


def test_equals_cole_hopf_at_the_published_viscosity():
    problem = Burgers()
    u = problem.solve(range(6), resolution=512, seed=3)["u"].values
    for row, a in zip(u, problem.initial(range(6), seed=3), strict=True):
        exact = heat_semigroup(a, 0.1)[::8]
        assert np.linalg.norm(row - exact) <= 1e-8 * np.linalg.norm(exact)


def test_equals_cole_hopf_with_shocks():
    problem = Burgers(viscosity=0.001)
    u = problem.solve(range(1), resolution=128, seed=3)["u"].values
    x = np.arange(128) / 128
    for row, a in zip(u, problem.initial(range(1), seed=3), strict=True):
        exact = quadrature(a, 0.001, x)
        assert np.linalg.norm(row - exact) <= 1e-7 * np.linalg.norm(exact)


@pytest.mark.parametrize(("viscosity", "tolerance"), [(0.1, 1e-9), (0.01, 1e-8), (0.001, 1e-8)])
def test_twice_the_internal_points_change_nothing(viscosity, tolerance):
    problem = Burgers(viscosity=viscosity)
    a = problem.initial(range(1), seed=0)
    n = problem.points
    u, fine = (problem.evolve(resample(a, 2 * MODES, p), points=p) for p in (n, 2 * n))
    error = (sample_at(u, n, 256) - sample_at(fine, 2 * n, 256)).norm(dim=1) / sample_at(
        fine, 2 * n, 256
    ).norm(dim=1)
    assert error.max() <= tolerance


def test_initial_states_have_the_stated_covariance():
    a = Burgers().initial(range(400), seed=0).numpy() / (2 * MODES)
    j = np.arange(1, 4)
    variance = (
        625 / ((2 * np.pi * j) ** 2 + 25) ** 2
    )  # of the coefficient of √2 cos(2πjx), and of √2 sin(2πjx)
    np.testing.assert_allclose((np.abs(a[:, 1:4]) ** 2).mean(0), variance, rtol=0.2)
    assert not a[:, 0].any()


@pytest.mark.parametrize("symmetry", Burgers().symmetries(), ids=str)
def test_declared_symmetries_hold(symmetry):
    problem = Burgers()
    a = problem.initial(range(2), seed=0)
    moved = (
        -a.conj()
        if "flip" in symmetry
        else a * torch.exp(-2j * torch.pi * 0.25 * torch.arange(MODES + 1).double())
    )
    u, v = (
        sample_at(problem.evolve(resample(w, 2 * MODES, 256), points=256), 256, 64)
        for w in (a, moved)
    )
    expected = -u.flip(1).roll(1, 1) if "flip" in symmetry else u.roll(16, 1)
    assert (v - expected).abs().max() < 1e-10


def test_too_small_a_viscosity_is_refused():
    with pytest.raises(ValueError, match="1e-4"):
        Burgers(viscosity=1e-6)
