"""Learned energies: gradients, bounds, orders, and energy that is constant in discrete time."""

import pytest
import torch
from helpers.physics import DIM, STEPS, attention_energy, context, march, shaken

from fields.dynamics.base import Context
from fields.dynamics.energies.attention import AttentionEnergy
from fields.dynamics.energies.mlp import MLPEnergy
from fields.flows.damped_hamiltonian import DampedHamiltonianField, EnergyGuardedStep
from fields.flows.hamiltonian import HamiltonianField
from fields.integrators.discrete_gradient import DiscreteGradient
from fields.integrators.midpoint import ImplicitMidpoint
from fields.integrators.verlet import EnergyProjectedVerlet, Verlet


def field(dtype=torch.float64, energy=AttentionEnergy, by: float = 0.3):
    torch.manual_seed(0)
    return shaken(HamiltonianField(DIM, energy=energy), by=by, dtype=dtype)


def kinetic(f, z):
    p = z[..., DIM // 2 :]
    return 0.5 * (f.inverse_mass() * p * p).sum((-2, -1))


@pytest.mark.parametrize("energy", [AttentionEnergy, MLPEnergy])
@pytest.mark.parametrize("n", [1, 2, 17])
def test_gradient_in_closed_form_is_the_gradient(energy, n):
    f = field(energy=energy)
    z, where = context(n)
    where = where._replace(cond=torch.randn(3, DIM, dtype=z.dtype))
    q = z[..., : DIM // 2].clone().requires_grad_()
    value, grad = f.potential(q, where)
    (expected,) = torch.autograd.grad(value.sum(), q)
    torch.testing.assert_close(grad, expected, atol=1e-11, rtol=1e-11)


def test_force_is_a_gradient_and_plain_attention_is_not():
    f = field()
    z, where = context(4, batch=1)
    q = z[..., : DIM // 2]

    def asymmetry(force):
        jacobian = torch.autograd.functional.jacobian(force, q).reshape(q.numel(), q.numel())
        return (jacobian - jacobian.T).norm() / jacobian.norm()

    def attention(q):
        scores = (q @ f.v.query.T) @ (q @ f.v.key.T).mT
        return scores.softmax(-1) @ q

    assert asymmetry(lambda q: f.potential(q, where)[1]) < 1e-12
    assert asymmetry(attention) > 1e-2


def test_potential_is_bounded_below():
    f = field(by=1.0)
    _, where = context()
    v = f.v
    c = DIM // 2
    g2 = v.features.gamma**2 * c
    d = c // v.heads
    low = -v.weight.abs().sum() * (v.patterns.norm(dim=1) * g2.sqrt() + v.bias.abs()).max()
    for h in range(v.heads):
        rows = slice(h * d, (h + 1) * d)
        strength = torch.linalg.matrix_norm(v.query[rows], 2) * torch.linalg.matrix_norm(
            v.key[rows], 2
        )
        low = low - v.amplitude[h].abs() * (
            g2 * strength + d**0.5 * (2.49 + where.distance2.max() / v.log_length[h].exp() ** 2)
        )
    scale = torch.logspace(-3, 3, 10_000, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        value = f.potential(torch.randn(10_000, 12, c, dtype=torch.float64) * scale, where)[0]
    assert (value >= 12 * low).all() and value.amin() < 0 < value.amax()


@STEPS
@pytest.mark.parametrize("h", [0.1, 0.4])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_energy_projected_verlet_preserves_the_energy_at_every_step(h, dtype, bound, steps):
    f = field(dtype)
    z, where = context(dtype=dtype)
    exact = field()
    _, where64 = context()
    start = attention_energy(exact, z.double(), where64)
    assert start.std() > 1e-2 * start.abs().mean(), (
        "all samples have the same energy: the test could not fail"
    )
    worst = 0.0
    refused = None
    for i, (x, carry) in enumerate(march(f, EnergyProjectedVerlet(), z, where, h, steps)):
        refused = carry.rejected_steps.sum()
        if i % 25 == 24:
            drift = (attention_energy(exact, x.double(), where64) - start).abs() / kinetic(
                exact, z.double()
            )
            worst = max(worst, float(drift.max()))
    assert (x - z).norm() / z.norm() > 0.1
    assert worst < bound and refused == 0


def test_other_methods_do_not_keep_it():
    f = field()
    z, where = context()
    start = attention_energy(f, z, where)
    scale = kinetic(f, z)
    for method, low in ((Verlet(), 1e-4), (ImplicitMidpoint(), 1e-6)):
        *_, (x, _) = march(f, method, z, where, 0.2, 100)
        drift = ((attention_energy(f, x, where) - start).abs() / scale).max()
        assert low < drift < 0.5, f"{type(method).__name__}: {drift}"


@pytest.mark.parametrize("steps", [10, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("h", "iterations"), [(0.1, 16), (0.4, 40)])
def test_converged_discrete_gradient_keeps_it_and_a_truncated_one_does_not(h, iterations, steps):
    f = field(by=0.1)
    z, where = context(4, batch=2)
    start = attention_energy(f, z, where)
    scale = kinetic(f, z).detach()

    def drift(iterations, steps):
        states = [
            x for x, _ in march(f, DiscreteGradient(iterations=iterations), z, where, h, steps)
        ]
        assert (states[9] - z).norm() > 0.1 * z.norm()
        return max(
            float(((attention_energy(f, x, where) - start).abs() / scale).max())
            for x in states[9::30]
        )

    assert drift(iterations, steps) < 1e-12 and drift(2, 10) > 1e-7


@pytest.mark.parametrize(
    "method",
    [Verlet(), EnergyProjectedVerlet(), DiscreteGradient(iterations=25)],
    ids=lambda m: type(m).__name__,
)
def test_order_two(method):
    f = field(by=0.1)
    z, where = context(4, batch=1)
    ends = []
    for steps in (10, 20, 40):
        *_, (x, _) = march(f, method, z, where, 1 / steps, steps)
        ends.append(x)
    order = torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm())
    assert abs(order - 2) < 0.1


def test_verlet_is_reversible_and_symplectic():
    f = field(by=0.1)
    z, where = context(3, batch=1)
    *_, (x, _) = march(f, Verlet(), z, where, 0.1, 200)
    flip = torch.ones(DIM, dtype=z.dtype)
    flip[DIM // 2 :] = -1
    *_, (back, _) = march(f, Verlet(), x * flip, where, 0.1, 200)
    assert (back * flip - z).abs().max() < 1e-11 and (x - z).norm() > 0.1 * z.norm()

    def step(flat):
        return next(march(f, Verlet(), flat.reshape(z.shape), where, 0.3, 1))[0].flatten()

    jacobian = torch.autograd.functional.jacobian(step, z.flatten())
    q = torch.arange(z.numel()).reshape(z.shape)[..., : DIM // 2].flatten()
    omega = torch.zeros_like(jacobian)
    omega[q, q + DIM // 2] = 1
    omega[q + DIM // 2, q] = -1
    assert (jacobian.T @ omega @ jacobian - omega).abs().max() < 1e-10


def test_samples_that_run_out_of_energy_bounce_and_are_counted():
    f = field(by=1.0)
    z, where = context(6)
    z = torch.cat([z[..., : DIM // 2], 1e-3 * z[..., DIM // 2 :]], dim=-1)
    start = attention_energy(f, z, where)
    *_, (x, carry) = march(f, EnergyProjectedVerlet(), z, where, 1.0, 50)
    assert carry.rejected_steps.sum() > 0
    assert ((attention_energy(f, x, where) - start).abs() / start.abs()).max() < 1e-12


@pytest.mark.parametrize("by", [0.3, 3.0])
def test_energy_guarded_step_never_increases_the_energy(by):
    torch.manual_seed(0)
    f = shaken(DampedHamiltonianField(DIM), by=by)
    z, where = context(6)
    energy = attention_energy(f.conservative, z, where)
    slack = 1e-12
    first = energy
    for x, _ in march(f, EnergyGuardedStep(), z, where, 1.0, 150):
        new = attention_energy(f.conservative, x, where)
        assert (new <= energy + slack * energy.abs().clamp(min=1)).all()
        energy = new
    assert (energy < first - 1e-3 * first.abs()).all()


def test_the_context_is_optional():
    f = field()
    z, _ = context()
    start = attention_energy(f, z, Context())
    *_, (x, _) = march(f, EnergyProjectedVerlet(), z, Context(), 0.2, 20)
    torch.testing.assert_close(attention_energy(f, x, Context()), start, atol=1e-11, rtol=1e-11)
