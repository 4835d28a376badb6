"""Evolution problems against exact solutions: modes, plane waves, solitons, fronts, vortices."""

import math

import torch

from datasets.allen_cahn import AllenCahn
from datasets.burgers_time import BurgersTime
from datasets.gray_scott import GrayScott
from datasets.heat import Heat
from datasets.kdv import KortewegDeVries
from datasets.ks import KuramotoSivashinsky
from datasets.navier_stokes import NavierStokes
from datasets.nls import Schroedinger
from datasets.shallow_water import ShallowWater
from datasets.wave import Wave


def advance(problem, z, frames, **statics):
    step = problem.stepper(tuple(z.shape[2:]), statics)
    for _ in range(frames):
        z = step(z)
    return z[0]


def grid(points, length=1.0):
    return length * torch.arange(points).double() / points


def states(*fields):
    return torch.stack(fields)[None]


def test_heat_modes_decay():
    x = 2 * torch.pi * grid(32)
    u = torch.cos(3 * x)[:, None] * torch.sin(2 * x)
    decay = math.exp(-0.02 * 4 * math.pi**2 * 13 * 10 * 0.05)
    torch.testing.assert_close(
        advance(Heat(dim=2, diffusivity=0.02), states(u), 10)[0], decay * u, rtol=0, atol=1e-13
    )


def test_wave_of_constant_speed_travels():
    x = math.pi / 2 * grid(64, 4.0)
    z = states(torch.cos(x), math.pi * torch.sin(x))  # cos(π/2 (x − 2t))
    u = advance(Wave(), z, 20, c=torch.full((1, 64), 2.0).double())[0]
    assert (u - torch.cos(x - math.pi * 2)).abs().max() < 1e-6


def test_wave_keeps_its_energy_in_a_medium_of_variable_speed():
    problem = Wave()
    x = math.pi / 2 * grid(64, 4.0)
    z = states(torch.exp(torch.cos(x)), torch.sin(2 * x))
    c = (1 + 0.4 * torch.cos(x))[None]
    energy = problem.conserved()["energy"]
    assert (energy(advance(problem, z, 50, c=c)[None], c) / energy(z, c) - 1).abs().max() < 1e-7


def test_soliton_of_korteweg_and_de_vries():
    def soliton(t):
        x = (grid(256, 32.0) - 16 - 4 * t + 16) % 32 - 16
        return 2 / torch.cosh(x) ** 2

    assert (advance(KortewegDeVries(), states(soliton(0)), 10)[0] - soliton(1.0)).abs().max() < 1e-6


def test_moving_soliton_of_schroedinger():
    speed = 2 * math.pi / 16 * 3

    def soliton(t):
        x = grid(256, 16.0) - 8 - speed * t
        phase = speed * (x + speed * t) + (9 - speed**2) / 2 * t
        return torch.stack(
            [3 / torch.cosh(3 * x) * torch.cos(phase), 3 / torch.cosh(3 * x) * torch.sin(phase)]
        )

    assert (advance(Schroedinger(), soliton(0)[None], 10) - soliton(1.0)).abs().max() < 1e-5


def test_small_waves_grow_at_the_linear_rate():
    k = 2 * math.pi / 22 * 2
    u = 1e-9 * torch.cos(k * grid(64, 22.0))
    grown = math.exp(10 * (k**2 - k**4)) * u
    torch.testing.assert_close(
        advance(KuramotoSivashinsky(), states(u), 10)[0], grown, rtol=1e-6, atol=1e-15
    )


def test_burgers_in_time_equals_cole_hopf():
    nu = 0.01
    n = 512
    t = 0.4
    x = 2 * torch.pi * grid(n)
    u = 0.3 * torch.sin(x) + 0.2 * torch.cos(2 * x)
    integral = (-0.3 * torch.cos(x) + 0.1 * torch.sin(2 * x)) / (2 * torch.pi)
    k = 2 * torch.pi * torch.arange(n // 2 + 1).double()
    phi = torch.fft.rfft(torch.exp(-integral / (2 * nu))) * torch.exp(-nu * k**2 * t)
    exact = -2 * nu * torch.fft.irfft(1j * k * phi, n=n) / torch.fft.irfft(phi, n=n)
    assert (advance(BurgersTime(), states(u), 20)[0] - exact).abs().max() < 1e-8


def test_front_of_allen_and_cahn_stands():
    problem = AllenCahn()
    x = grid(128)
    scale = math.sqrt(2) * problem.width
    u = torch.tanh((x - 0.25) / scale) - torch.tanh((x - 0.75) / scale) - 1
    assert (
        advance(problem, states(u), 2)[0] - u
    ).abs().max() < 3e-4  # the tails of two fronts overlap by e^(−√2/2ε)


def test_uniform_phase_of_allen_and_cahn():
    u = advance(AllenCahn(dim=2), torch.full((1, 1, 8, 8), 0.2).double(), 10)[0]
    exact = 0.2 * math.exp(2) / math.sqrt(1 + 0.04 * (math.exp(4) - 1))
    assert (u - exact).abs().max() < 1e-6


def test_gray_scott_feeds_a_uniform_state():
    """b = 0: a' = f (1 − a). A uniform mixture follows the two rate equations."""
    feed, kill = (torch.full((2,), value, dtype=torch.float64) for value in (0.03, 0.06))
    z = torch.tensor([[0.4, 0.0], [0.4, 0.3]], dtype=torch.float64)[..., None, None].expand(
        2, 2, 4, 4
    )
    z = GrayScott().stepper((4, 4), {"feed": feed, "kill": kill})(z)[..., 0, 0]
    a = 0.4
    b = 0.3
    for _ in range(2000):  # midpoint rule with a step of 5e-3
        a_mid = a + 2.5e-3 * (0.03 * (1 - a) - a * b**2)
        b_mid = b + 2.5e-3 * (a * b**2 - 0.09 * b)
        a = a + 5e-3 * (0.03 * (1 - a_mid) - a_mid * b_mid**2)
        b = b + 5e-3 * (a_mid * b_mid**2 - 0.09 * b_mid)
    assert abs(z[0, 0] - (1 - 0.6 * math.exp(-0.3))) < 1e-12 and z[0, 1] == 0
    assert abs(z[1, 0] - a) < 1e-6 and abs(z[1, 1] - b) < 1e-6


def test_taylor_green_vortices_decay():
    problem = NavierStokes(forcing=0.0)
    x = 2 * torch.pi * grid(32)
    w = torch.cos(x)[:, None] * torch.cos(x)
    decay = math.exp(-problem.viscosity * 8 * math.pi**2 * 2)
    torch.testing.assert_close(advance(problem, states(w), 2)[0], decay * w, rtol=0, atol=1e-12)


def test_forced_shear_flow_reaches_its_amplitude():
    """w = s(t) (sin + cos)(2π(x + y)) does not advect itself: s' = 0.1 − 8π² ν s."""
    problem = NavierStokes()
    x = 2 * torch.pi * grid(32)
    shape = torch.sin(x[:, None] + x) + torch.cos(x[:, None] + x)
    rate = problem.viscosity * 8 * math.pi**2
    exact = 0.1 / rate * (1 - math.exp(-2 * rate)) * shape
    assert (advance(problem, states(0 * shape), 2)[0] - exact).abs().max() < 1e-12


def test_small_gravity_waves_travel():
    problem = ShallowWater(viscosity=0.0)
    x = 2 * torch.pi * grid(32)
    phase = (x[:, None] + x).expand(32, 32)
    omega = 2 * math.pi * math.sqrt(2)
    small = 1e-8

    def wave(t):
        c = small * torch.cos(phase - omega * t)
        return torch.stack([1 + c, c / math.sqrt(2), c / math.sqrt(2)])

    assert (
        advance(problem, wave(0)[None], 10) - wave(10 * problem.interval)
    ).abs().max() < 1e-5 * small
