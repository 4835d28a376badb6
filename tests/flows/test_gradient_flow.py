"""Gradient flows: curvature, the bound on the energy, the law, the order, Allen–Cahn."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from fields.core.sample import Latent
from fields.dynamics.base import Context
from fields.dynamics.energies.local import LocalEnergy
from fields.evaluation.reference_energies import reference_energy
from fields.evaluation.verify import verify
from fields.flows.gradient_flow import BoundedRosenbrock, GradientFlowField
from fields.flows.hamiltonian import HamiltonianField
from fields.processors.flow import Flow

CASES = pytest.mark.parametrize(
    ("tokens", "dim", "given", "quartic"),
    [((12,), 1, 0, 0.3), ((12,), 2, 0, 0.0), ((6, 7), 1, 0, 0.3), ((12,), 3, 1, 0.3)],
)


def flow(tokens, dim: int, given: int, quartic: float, dtype=torch.float64) -> GradientFlowField:
    """Random weights of either sign, the forces of a concave part among them."""
    torch.manual_seed(0)
    energy = partial(
        LocalEnergy, tokens=tokens, given=given, patterns=8, radius=2, hidden=6, quartic=quartic
    )
    out = GradientFlowField(dim, energy=energy)
    for p in out.parameters():
        torch.nn.init.normal_(p, std=0.6)
    return out.to(dtype)


def states(tokens, dim: int, dtype=torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(3, math.prod(tokens), dim, generator=g, dtype=torch.float64).to(dtype)


@CASES
def test_curvature_is_the_derivative_of_the_force_in_two_halves_of_one_sign(
    tokens, dim, given, quartic
):
    f = flow(tokens, dim, given, quartic)
    z = states(tokens, dim)
    v = f.v
    up, down = f.curvature(z)
    assert (
        torch.linalg.eigvalsh(up).min() > -1e-12
        and torch.linalg.eigvalsh(down).min() > -1e-12
        and down.abs().max() > 0.01
    )
    for i in range(len(z)):
        hessian = torch.autograd.functional.jacobian(
            lambda one: v.grad(one[None])[0, :, : v.moving], z[i]
        )
        torch.testing.assert_close(
            up[i] - down[i],
            hessian[..., : v.moving].flatten(2).flatten(0, 1),
            atol=1e-10,
            rtol=1e-9,
        )


@CASES
def test_the_energy_along_a_move_stays_under_its_bound(tokens, dim, given, quartic):
    v = flow(tokens, dim, given, quartic).v
    z = states(tokens, dim)
    g = torch.Generator().manual_seed(2)
    for size in (1e-2, 1.0, 30.0):
        move = size * torch.randn(z.shape, generator=g, dtype=z.dtype)
        move[..., v.moving :] = 0
        start = v(z)
        slope = (v.grad(z) * move).sum((1, 2))
        bend = v.bend(z, move)
        for s in torch.linspace(0, 1, 21, dtype=z.dtype):
            assert (v(z + s * move) <= start + s * slope + s**2 * bend + 1e-9 * (1 + bend)).all()
        assert (
            bend < 30 * (v(z + move) - start - slope).abs() + 30 * size**2 * z[0].numel()
        ).all()  # and is not vacuous


@CASES
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("h", [1e-3, 0.3, 5.0, 1e3])
def test_energy_never_rises_at_any_step_size(tokens, dim, given, quartic, h, dtype, slack):
    f = flow(tokens, dim, given, quartic, dtype)
    z = states(tokens, dim, dtype)
    exact = flow(tokens, dim, given, quartic)
    method = BoundedRosenbrock()
    cuts = torch.zeros(3)
    before, scale, _ = reference_energy(exact, z.double(), Context())
    first = before
    with torch.no_grad():
        for _ in range(40):
            z, cuts = method.step(f, 0.0, h, z, Context(), cuts)
            energy = reference_energy(exact, z.double(), Context())[0]
            assert (energy <= before + slack * scale).all()
            before = energy
    assert (before < first).all() and (h > 0.1 or not cuts.any())


def test_without_the_bound_it_does_rise(monkeypatch):
    """The control: a full step of any size climbs out of wells."""
    f = flow((12,), 1, 0, 0.0)
    z = 3 * states((12,), 1)
    with torch.no_grad():
        f.v.raw_stiffness.fill_(-6.0)
        f.v.weight.abs_()
    assert (BoundedRosenbrock().step(f, 0.0, 50.0, z, Context(), torch.zeros(3))[1] == 1).all()
    monkeypatch.setattr(
        LocalEnergy, "bend", lambda self, z, move, context: torch.zeros(len(z), dtype=z.dtype)
    )
    before = f.energy(z)
    risen = False
    with torch.no_grad():
        for _ in range(40):
            z, _ = BoundedRosenbrock().step(f, 0.0, 50.0, z, Context(), torch.zeros(3))
            risen = risen or bool((f.energy(z) > before + 1e-3).any())
            before = f.energy(z)
    assert risen


@CASES
def test_its_order_is_two_and_small_steps_follow_the_field(tokens, dim, given, quartic):
    f = flow(tokens, dim, given, quartic)
    z = states(tokens, dim)
    for p in f.parameters():
        p.data *= 0.5

    def end(steps: int, time: float = 0.5) -> torch.Tensor:
        return BoundedRosenbrock().solve(
            f, z, times=torch.tensor([0.0, time], dtype=z.dtype), steps=steps
        )[-1]

    with torch.no_grad():
        once = end(32)
        twice = end(64)
        four = end(128)
        assert abs(torch.log2((once - twice).norm() / (twice - four).norm()) - 2) < 0.1
        torch.testing.assert_close((end(1, 1e-8) - z) / 1e-8, f(0.0, z), atol=1e-4, rtol=1e-4)


def test_allen_cahn_is_among_them():
    """½ε²|Du|² + ¼u⁴ − ½u², the last by a log cosh of negative weight."""
    k = 32
    eps = 0.3
    u = (
        0.1 * torch.sin(2 * math.pi * torch.arange(k, dtype=torch.float64) / k + 0.3)[None, :, None]
        + 0.05
    )
    f = GradientFlowField(
        1, energy=partial(LocalEnergy, tokens=(k,), patterns=2, radius=1, quartic=1.0)
    ).double()
    with torch.no_grad():
        f.v.stencils.copy_(torch.tensor([[0.0, -1.0, 1.0], [0.0, 1e-3, 0.0]]))
        f.v.raw_stiffness.copy_(torch.tensor([eps**2, 1e-9]).double().expm1().log())
        f.v.quartic.copy_(torch.tensor([0.0, 1e6]))
        f.v.weight.copy_(torch.tensor([0.0, -1e6]))
        f.v.bias.zero_()
        expected = eps**2 * (u.roll(-1, 1) - 2 * u + u.roll(1, 1)) + u - u**3
        torch.testing.assert_close(f(0.0, u), expected, atol=1e-6, rtol=0)


def test_a_certificate_passes_and_a_sign_breaks_it(monkeypatch):
    part = partial(flow, (12,), given=0, quartic=0.3, dtype=torch.float32)
    processor = Flow(2, field=lambda dim: part(dim), integrator=BoundedRosenbrock, steps=2, h=0.3)
    latent = Latent(states((12,), 2, torch.float32), torch.rand(1, 12, 1), torch.tensor([True]))
    assert verify(processor, latent, steps=200).passed
    value_and_grad = LocalEnergy.value_and_grad
    monkeypatch.setattr(
        LocalEnergy,
        "value_and_grad",
        lambda *args: (value_and_grad(*args)[0], -1e-3 * value_and_grad(*args)[1]),
    )
    assert verify(processor, latent, steps=200).verdict.startswith("BROKEN")


def test_training_reaches_every_weight_and_an_equilibrium_is_kept():
    f = flow((12,), 2, 0, 0.3, torch.float32)
    z = states((12,), 2, torch.float32)
    out, _ = BoundedRosenbrock().step(f, 0.0, 0.2, z, Context(), torch.zeros(3))
    out.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0
        for p in f.parameters()
    )
    still = torch.zeros(1, 12, 2, requires_grad=True)
    torch.nn.init.zeros_(f.v.bias)
    end, _ = BoundedRosenbrock().step(f, 0.0, 0.2, still, Context(), torch.zeros(1))
    (grad,) = torch.autograd.grad(end.sum(), still)
    assert not end.any() and grad.isfinite().all()


@pytest.mark.parametrize("amplitude", [1e2, 1e4, 1e10, 1e20])
def test_a_step_of_any_amplitude_stays_finite_and_never_climbs(amplitude):
    f, z = flow((12,), 2, 0, 0.3, torch.float32), amplitude * states((12,), 2, torch.float32)
    cuts = torch.zeros(3)
    for _ in range(5):
        z, cuts = BoundedRosenbrock().step(f, 0.0, 0.2, z, Context(), cuts)
        assert z.isfinite().all()
    assert (cuts > 0).all() or amplitude < 1e20


def test_what_cannot_be_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"mobility = 0\.0: the field would not move"):
        GradientFlowField(1, energy=partial(LocalEnergy, tokens=(12,)), mobility=0.0)
    with pytest.raises(
        ValueError,
        match=r"`BoundedRosenbrock` cannot step `HamiltonianField`.*`EnergyProjectedVerlet`",
    ):
        Flow(8, field=HamiltonianField, integrator=BoundedRosenbrock)
