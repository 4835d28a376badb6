"""Klein–Gordon: a standing elliptic wave, order of the splitting, energy, reflections."""

import math

import numpy as np
import torch
from scipy.special import ellipj

from datasets.klein_gordon import KleinGordon


def advance(problem, z, frames, refine=1):
    step = problem.stepper(tuple(z.shape[2:]), {}, refine=refine)
    for _ in range(frames):
        z = step(z)
    return z


def test_uniform_oscillation_is_a_jacobi_cosine():
    """u'' = −u³ with u(0) = A has u = A cn(A t, ½)."""
    z = torch.tensor([1.5, 0.0], dtype=torch.float64).reshape(1, 2, 1).expand(1, 2, 16)
    z = advance(KleinGordon(), z, 50)
    assert (z[0, 0] - 1.5 * ellipj(1.5 * 5.0, 0.5)[1]).abs().max() < 1e-5


def wave(points=64):
    problem = KleinGordon()
    drawn = problem.initial(np.random.default_rng(1), (points,))
    return problem, torch.tensor(np.stack([drawn["u"], drawn["v"]]))[None]


def test_splitting_has_order_four():
    problem, z = wave()
    exact = advance(problem, z, 5, refine=16)
    coarse, fine = (advance(problem, z, 5, refine=r) for r in (1, 2))
    assert 3.7 < math.log2((coarse - exact).norm() / (fine - exact).norm()) < 4.4


def test_energy_stays_over_the_test_horizon():
    problem, z = wave()
    energy = problem.conserved()["energy"]
    assert (energy(advance(problem, z, 400)) / energy(z) - 1).abs().max() < 1e-6


def test_time_runs_backwards():
    problem, z = wave()
    mirror = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 2, 1)
    torch.testing.assert_close(
        advance(problem, mirror * advance(problem, z, 20), 20) * mirror, z, rtol=0, atol=1e-9
    )


def test_linear_waves_travel_at_speed_one_in_two_dimensions():
    problem = KleinGordon(dim=2)
    x = torch.arange(32).double() / 8
    phase = math.pi / 2 * (x[:, None] + x)
    omega = math.pi / 2 * math.sqrt(2)
    z = 1e-6 * torch.stack([phase.cos(), omega * phase.sin()])[None]  # cos(phase − ωt)
    z = advance(problem, z, 10)
    assert (z[0, 0] - 1e-6 * (phase - omega).cos()).abs().max() < 1e-14
