"""The sphere transformer: the double bracket that it is, and the law at every step size."""

import pytest
import torch
from helpers.physics import DIM, STEPS, context, half_square, march, shaken

from fields.flows.sphere_transformer import SphereExponential, SphereTransformerField


def field(gamma: float = 0.1, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return shaken(SphereTransformerField(DIM, gamma=gamma, **options), by=0.05, dtype=dtype)


def test_it_is_the_double_bracket_of_a_skew_operator_of_rank_two():
    f = field()
    z, where = context()
    with torch.no_grad():
        lifted = f.lift(z, where)
        found = f(0.0, lifted, where)
        proposed = torch.nn.functional.pad(f.free(0.0, z, where), (0, 0, 0, 1))
        for x, b, dx in zip(lifted.flatten(1), proposed.flatten(1), found.flatten(1), strict=True):
            skew = (torch.outer(b, x) - torch.outer(x, b)) / x.dot(x)
            torch.testing.assert_close(
                dx, skew @ x - f.damping() * skew.T @ skew @ x, atol=1e-11, rtol=1e-9
            )
            torch.testing.assert_close(
                x.dot(dx), -f.damping() * (skew @ x).dot(skew @ x), atol=1e-10, rtol=1e-9
            )


@STEPS
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("h", [0.1, 1.0, 50.0])
def test_energy_never_rises_at_any_step_size(h, dtype, slack, steps):
    f = field(dtype=dtype)
    z, where = context(dtype=dtype)
    z = f.lift(z, where)
    before = first = half_square(z)
    for x, _ in march(f, SphereExponential(), z, where, h, steps):
        energy = half_square(x)
        assert (energy <= before + slack * first).all()
        before = energy
    assert (before < 0.999 * first).all()


@STEPS
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_without_damping_energy_is_constant(dtype, bound, steps):
    f = field(0.0, learned=False, dtype=dtype)
    z, where = context(dtype=dtype)
    z = f.lift(z, where)
    first = half_square(z)
    *_, (x, _) = march(f, SphereExponential(), z, where, 0.7, steps)
    assert ((half_square(x) - first).abs() / first).max() < bound and (
        x - z
    ).norm() > 0.5 * z.norm()


def test_a_step_loses_what_its_angle_costs():
    f = field()
    z, where = context()
    z = f.lift(z, where)
    x, _ = next(march(f, SphereExponential(), z, where, 0.3, 1))
    with torch.no_grad():
        tangent, size2 = f.tangent(0.0, z, where)
        angle = 0.3 * (tangent.square().sum((1, 2)) / size2[:, 0, 0]).sqrt()
        left = half_square(z) * torch.exp(-2 * f.damping() * angle**2 / 0.3)
        torch.testing.assert_close(half_square(x), left, rtol=1e-12, atol=0)
        turned = (x * z).sum((1, 2)) / (x.flatten(1).norm(dim=1) * z.flatten(1).norm(dim=1))
        torch.testing.assert_close(turned, angle.cos(), rtol=1e-12, atol=1e-12)


def test_its_order_is_one():
    f = field()
    z, where = context(6, batch=1)
    ends = [
        list(march(f, SphereExponential(), f.lift(z, where), where, 1 / steps, steps))[-1][0]
        for steps in (16, 32, 64)
    ]
    assert abs(torch.log2((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()) - 1) < 0.2


def test_small_steps_follow_the_field():
    f = field()
    z, where = context()
    z = f.lift(z, where)
    x, _ = next(march(f, SphereExponential(), z, where, 1e-6, 1))
    with torch.no_grad():
        torch.testing.assert_close((x - z) / 1e-6, f(0.0, z, where), atol=1e-3, rtol=1e-3)


def test_a_flipped_sign_breaks_the_law(monkeypatch):
    f = field()
    z, where = context()
    z = f.lift(z, where)
    damping = f.damping()
    monkeypatch.setattr(type(f.damping), "forward", lambda self: -damping)
    *_, (x, _) = march(f, SphereExponential(), z, where, 0.5, 5)
    assert (half_square(x) > 1.001 * half_square(z)).any()


def test_tokens_of_no_size_stay():
    f = field()
    z, where = context()
    still = f.lift(torch.zeros_like(z), where)
    x, _ = next(march(f, SphereExponential(), still, where, 1.0, 1))
    assert torch.equal(x, still)


@pytest.mark.parametrize("reservoir", [0.0, 1.0, 3.0])
def test_tokens_never_outgrow_what_the_reservoir_gives(reservoir):
    f = field(0.0, learned=False, reservoir=reservoir)
    z, where = context()
    with torch.no_grad():
        f.free.block.mlp.layers[-1].bias += 3.0  # pushes all tokens outwards
    first = half_square(z)
    largest = half_square(z)
    for x, _ in march(f, SphereExponential(), f.lift(z, where), where, 0.5, 100):
        largest = torch.maximum(largest, half_square(f.project(x)))
    assert (largest <= (1 + reservoir**2) * first * (1 + 1e-12)).all()
    assert reservoir == 0 or (largest > 1.5 * first).all()
